// registry.cpp: every driver, one line each, in display order.
//
// X(name) expects `DriverSpec name_driver()`, defined in the driver's folder.
#include "drivers/driver.h"

#define SBENCH_DRIVERS(X)                                     \
  X(native)         /* plain directories: the control      */ \
  X(overlay2)       /* kernel overlayfs, many lowers       */ \
  X(overlay)        /* kernel overlayfs, hard-linked trees */ \
  X(aufs)           /* the classic union                   */ \
  X(devicemapper)   /* dm-thin snapshots                   */ \
  X(btrfs)          /* subvolume snapshots                 */ \
  X(zfs)            /* dataset clones                      */ \
  X(vfs)            /* full copies                         */ \
  X(fuse_overlayfs) /* the distribution's program          */ \
  X(null)           /* stores nothing                      */

namespace sbench {

#define SBENCH_DECLARE(name) DriverSpec name##_driver();
SBENCH_DRIVERS(SBENCH_DECLARE)
#undef SBENCH_DECLARE

const std::vector<DriverSpec>& driver_registry() {
#define SBENCH_MAKE(name) name##_driver(),
  static const std::vector<DriverSpec> registry = {SBENCH_DRIVERS(SBENCH_MAKE)};
#undef SBENCH_MAKE
  return registry;
}

}  // namespace sbench
