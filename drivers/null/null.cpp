#include "drivers/driver.h"

namespace sbench {

DriverSpec null_driver() {
  DriverSpec spec;
  spec.name = "null";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
