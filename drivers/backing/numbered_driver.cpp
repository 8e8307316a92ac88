#include "drivers/backing/numbered_driver.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"

namespace sbench {

Status NumberedDriver::sync_if_shown(const LayerId& id) const {
  if (!is_mount_point(mount_of(id))) {
    return {};
  }
  SBENCH_TRY_SET(const Fd fd, open_file(mount_of(id), O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) {
    return errno_error("cannot sync {}", mount_of(id).string());
  }
  return {};
}

Status NumberedDriver::sync_shown() const {
  for (const auto& id : shown_) {
    SBENCH_TRY(sync_if_shown(id));
  }
  return {};
}

void NumberedDriver::leave_mounts() {
  if (settle_mounts()) {
    keep_pool();
    return;
  }
  for (const auto& id : shown_) {
    ::umount2(mount_of(id).c_str(), MNT_DETACH);  // a stranger holds it: it goes when they let go
  }
}

Status NumberedDriver::commit_layer(const LayerId& name, const LayerId& key) {
  if (name == key || !numbers_.find(key)) {  // renamed before it was interrupted
    return {};
  }
  SBENCH_TRY(delete_layer(name));  // what a killed process may have left
  return numbers_.rename(key, name);
}

Status NumberedDriver::delete_layer(const LayerId& id) {
  const auto number = numbers_.find(id);
  if (!number) {
    return {};
  }
  SBENCH_TRY(check_not_shown_on(mount_of(id), id));
  SBENCH_TRY(forget(*number));
  return numbers_.erase(id);
}

/// What stays shown needs its pool.
Status NumberedDriver::remember_shown(const LayerId& id, bool shown) {
  if (shown) {
    keep_pool();
  }
  return BackedDriver::remember_shown(id, shown);
}

}  // namespace sbench
