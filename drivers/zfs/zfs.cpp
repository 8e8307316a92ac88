// zfs.cpp: where the zfs driver will be; until then, why it cannot run.
#include "drivers/backing/mount_point.h"
#include "drivers/backing/no_engine.h"
#include "drivers/base/process.h"

namespace sbench {

DriverSpec zfs_driver() {
  return no_engine_spec("zfs", "dataset clones in a ZFS pool", [] {
    if (!kernel_has_file_system("zfs")) {
      return Availability::no("the kernel has no zfs: its module is not loaded and does not load",
                              "install OpenZFS for this kernel (Debian: zfs-dkms), then modprobe zfs");
    }
    if (find_program("zpool").empty() || find_program("zfs").empty()) {
      return Availability::no("the programs zpool and zfs are not installed", "install the package zfsutils-linux");
    }
    return Availability::no("zfs is here, but this sbench has no engine for it yet", "use a newer sbench");
  });
}

}  // namespace sbench
