// mount_point.h: mounting, unmounting, and asking what is mounted where.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "drivers/base/result.h"

namespace sbench {

/// Whether `path` is the root of a mount. One system call, however many mounts there are.
[[nodiscard]] bool is_mount_point(const std::filesystem::path& path);

/// EBUSY while another process, or a detached Mount, shows layer `id` on `path`.
[[nodiscard]] Status check_not_shown_on(const std::filesystem::path& path, const std::string& id);

/// The topmost mount on a path, as /proc/self/mountinfo shows it.
struct MountedFileSystem {
  std::string type;
  std::string source;
  unsigned device_minor = 0;  ///< of st_dev
};
[[nodiscard]] std::optional<MountedFileSystem> find_mount(const std::filesystem::path& path);

/// Where a block device is mounted, in this process' namespace; the first such place.
[[nodiscard]] std::optional<std::filesystem::path> mount_point_of_device(const std::string& block_device);

/// umount(2). EBUSY, which a file being closed elsewhere causes for a moment,
/// is tried again for up to `patience_ms`.
[[nodiscard]] Status unmount(const std::filesystem::path& path, int patience_ms = 0);

/// Whether this process may mount (CAP_SYS_ADMIN).
[[nodiscard]] bool may_mount();

/// Whether the kernel has file system `type`, lets a kernel that keeps it in
/// a module load that (as mounting would).
[[nodiscard]] bool kernel_has_file_system(const std::string& type);

}  // namespace sbench
