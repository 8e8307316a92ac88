#include "drivers/driver.h"

namespace sbench {

DriverSpec overlay2_driver() {
  DriverSpec spec;
  spec.name = "overlay2";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
