// kernel_engine.cpp: dm-thin through libdevmapper.
#include <unistd.h>

#include "drivers/base/file.h"
#include "drivers/devicemapper/thin_devices.h"

namespace sbench::devicemapper {

namespace {

bool kernel_has_device_mapper() {
  if (::access("/dev/mapper/control", F_OK) == 0) {
    return true;
  }
  const auto misc = read_text("/proc/misc");  // "236 device-mapper" wherever dm is built in or loaded
  return misc.ok() && misc->find(" device-mapper\n") != std::string::npos;
}

Availability probe(const Options&) {
  if (!kernel_has_device_mapper()) {
    return Availability::no(
        "the kernel has no device mapper: no /dev/mapper/control, and /proc/misc does not list it",
        "use a kernel with CONFIG_DM_THIN_PROVISIONING, or load its module: modprobe dm_thin_pool");
  }
  return Availability::no("the kernel has the device mapper, but this sbench has no engine for it yet",
                          "use a newer sbench");
}

Error refusal() {
  const Availability why = probe({});
  return plain_error(ENOTSUP, "devicemapper cannot run here: {}; {}", why.reason, why.remedy);
}

Status format(Device&, const Options&) { return refusal(); }

Result<std::unique_ptr<ThinDevices>> open(Device&, const Options&, const std::filesystem::path&) { return refusal(); }

}  // namespace

const Engine& kernel_engine() {
  static const Engine engine = {"kernel", EngineClass::kernel, probe, format, open};
  return engine;
}

}  // namespace sbench::devicemapper
