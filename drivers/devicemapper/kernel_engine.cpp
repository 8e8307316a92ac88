// kernel_engine.cpp: dm-thin through libdevmapper, as one of the driver's two engines.
#include "drivers/backing/mount_point.h"
#include "drivers/base/user_namespace.h"
#include "drivers/devicemapper/dm_device.h"
#include "drivers/devicemapper/kernel_pool.h"

namespace sbench::devicemapper {

namespace {

Availability probe(const Options&) {
  if (!kernel_has_device_mapper()) {
    return Availability::no(
        "the kernel has no device mapper: no /dev/mapper/control, and /proc/misc does not list it",
        "use a kernel with CONFIG_DM_THIN_PROVISIONING, load its module (modprobe dm_thin_pool), or run with --in uml");
  }
  if (!may_mount()) {
    return Availability::no("the device mapper needs root (CAP_SYS_ADMIN)", "run sbench as root, or with --in uml");
  }
  if (in_user_namespace()) {
    return Availability::no("the device mapper obeys the machine's root alone, not a user namespace's",
                            "run sbench as root, or with --in uml");
  }
  if (!dm_target_version("thin-pool")) {
    return Availability::no("the kernel's device mapper has no thin-pool target",
                            "load its module (modprobe dm_thin_pool), or run with --in uml");
  }
  return Availability::yes();
}

Status format(Device& device, const Options& options) {
  const Availability availability = probe(options);
  if (!availability.available) {
    return plain_error(ENOTSUP, "devicemapper cannot run here: {}; {}", availability.reason, availability.remedy);
  }
  return KernelPool::format(device, options);
}

}  // namespace

const Engine& kernel_engine() {
  static const Engine engine = {"kernel", EngineClass::kernel, probe, format, KernelPool::open};
  return engine;
}

}  // namespace sbench::devicemapper
