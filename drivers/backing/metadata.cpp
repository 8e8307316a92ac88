#include "drivers/backing/metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>

#include "drivers/base/file.h"
#include "drivers/layer/xattr.h"

namespace sbench {

Status copy_directory_metadata(const std::filesystem::path& source, const std::filesystem::path& target) {
  SBENCH_TRY_SET(const Fd source_fd, open_file(source, O_RDONLY | O_DIRECTORY));
  SBENCH_TRY_SET(const Fd target_fd, open_file(target, O_RDONLY | O_DIRECTORY));
  struct stat info {};
  if (::fstat(source_fd.get(), &info) != 0) {
    return errno_error("cannot inspect {}", source.string());
  }
  if (::fchown(target_fd.get(), info.st_uid, info.st_gid) != 0 ||
      ::fchmod(target_fd.get(), info.st_mode & 07777) != 0) {
    return errno_error("cannot set owner and mode of {}", target.string());
  }
  SBENCH_TRY_SET(auto xattrs, read_xattrs(source_fd.get(), ".", source.string()));
  std::erase_if(xattrs, [](const auto& each) { return is_driver_xattr(each.first); });
  SBENCH_TRY(remove_other_xattrs(target_fd.get(), ".", xattrs, target.string()));
  SBENCH_TRY(write_xattrs(target_fd.get(), ".", xattrs, target.string()));
  const std::array<timespec, 2> times = {info.st_mtim, info.st_mtim};
  if (::futimens(target_fd.get(), times.data()) != 0) {
    return errno_error("cannot set the times of {}", target.string());
  }
  return {};
}

Status strip_overlay_xattrs(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const Fd folder_fd, open_file(path.parent_path(), O_RDONLY | O_DIRECTORY));
  SBENCH_TRY_SET(const auto xattrs, read_xattrs(folder_fd.get(), path.filename().string(), path.string()));
  for (const auto& [name, value] : xattrs) {
    if (is_driver_xattr(name) && ::lremovexattr(path.c_str(), name.c_str()) != 0) {
      return errno_error("cannot remove the xattr {} of {}", name, path.string());
    }
  }
  return {};
}

}  // namespace sbench
