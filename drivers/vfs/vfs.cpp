// vfs.cpp: Docker's vfs driver: every layer a full copy of its parent.
//
// On xfs and btrfs the copy clones files (FICLONE), so that it shares their
// blocks until they are written; on ext4 every byte is copied.
#include "drivers/backing/directory_driver.h"

namespace sbench {

DriverSpec vfs_driver() {
  DriverSpec spec = directory_driver_spec({"vfs", true});
  spec.summary = "full copies of the parent's tree; file clones where the backing has reflink";
  return spec;
}

}  // namespace sbench
