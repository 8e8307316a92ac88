#include "drivers/driver.h"

namespace sbench {

DriverSpec zfs_driver() {
  DriverSpec spec;
  spec.name = "zfs";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
