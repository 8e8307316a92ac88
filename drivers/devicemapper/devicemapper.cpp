#include "drivers/driver.h"

namespace sbench {

DriverSpec devicemapper_driver() {
  DriverSpec spec;
  spec.name = "devicemapper";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
