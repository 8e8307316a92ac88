#include "drivers/driver.h"

namespace sbench {

DriverSpec vfs_driver() {
  DriverSpec spec;
  spec.name = "vfs";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
