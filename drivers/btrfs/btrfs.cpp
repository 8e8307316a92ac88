#include "drivers/driver.h"

namespace sbench {

DriverSpec btrfs_driver() {
  DriverSpec spec;
  spec.name = "btrfs";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
