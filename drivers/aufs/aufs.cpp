// aufs.cpp: where the aufs driver will be; until then, why it cannot run.
#include "drivers/backing/mount_point.h"
#include "drivers/backing/no_engine.h"

namespace sbench {

DriverSpec aufs_driver() {
  return no_engine_spec("aufs", "the classic union of branches, an out-of-tree kernel patch", [] {
    if (!kernel_has_file_system("aufs")) {
      return Availability::no("the kernel has no aufs: /proc/filesystems does not list it and no module loads",
                              "use a kernel with the aufs patches (aufs.sourceforge.net)");
    }
    return Availability::no("the kernel has aufs, but this sbench has no engine for it yet", "use a newer sbench");
  });
}

}  // namespace sbench
