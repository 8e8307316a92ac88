// devicemapper.cpp: where the dm-thin driver will be; until then, why it cannot run.
#include <unistd.h>

#include "drivers/backing/no_engine.h"
#include "drivers/base/file.h"

namespace sbench {

namespace {

bool kernel_has_device_mapper() {
  if (::access("/dev/mapper/control", F_OK) == 0) {
    return true;
  }
  const auto misc = read_text("/proc/misc");  // "236 device-mapper" wherever dm is built in or loaded
  return misc.ok() && misc->find(" device-mapper\n") != std::string::npos;
}

}  // namespace

DriverSpec devicemapper_driver() {
  return no_engine_spec("devicemapper", "dm-thin snapshots with a file system on each", [] {
    if (!kernel_has_device_mapper()) {
      return Availability::no(
          "the kernel has no device mapper: no /dev/mapper/control, and /proc/misc does not list it",
          "use a kernel with CONFIG_DM_THIN_PROVISIONING, or load its module: modprobe dm_thin_pool");
    }
    return Availability::no("the kernel has the device mapper, but this sbench has no engine for it yet",
                            "use a newer sbench");
  });
}

}  // namespace sbench
