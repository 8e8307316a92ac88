#include "drivers/driver.h"

namespace sbench {

DriverSpec aufs_driver() {
  DriverSpec spec;
  spec.name = "aufs";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
