#include "drivers/driver.h"

namespace sbench {

DriverSpec overlay_driver() {
  DriverSpec spec;
  spec.name = "overlay";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
