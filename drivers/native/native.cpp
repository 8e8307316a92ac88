#include "drivers/driver.h"

namespace sbench {

DriverSpec native_driver() {
  DriverSpec spec;
  spec.name = "native";
  spec.probe = [](const Options&) { return Availability::no("placeholder", "placeholder"); };
  return spec;
}

}  // namespace sbench
