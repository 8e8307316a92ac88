#include "drivers/backing/metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace sbench {

namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";

Result<std::vector<std::string>> list_xattrs(const std::filesystem::path& path) {
  std::string names(65536, '\0');  // the kernel's maximum (XATTR_LIST_MAX)
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) {
    return errno_error("cannot list the xattrs of {}", path.string());
  }
  std::vector<std::string> found;
  for (std::size_t at = 0; at < static_cast<std::size_t>(length); at += found.back().size() + 1) {
    found.emplace_back(names.c_str() + at);
  }
  return found;
}

Status copy_xattr(const std::filesystem::path& source, const std::filesystem::path& target, const std::string& name) {
  std::string value(65536, '\0');  // the kernel's maximum (XATTR_SIZE_MAX)
  const ssize_t length = ::lgetxattr(source.c_str(), name.c_str(), value.data(), value.size());
  if (length < 0 || ::lsetxattr(target.c_str(), name.c_str(), value.data(), static_cast<std::size_t>(length), 0) != 0) {
    return errno_error("cannot copy the xattr {} of {}", name, source.string());
  }
  return {};
}

}  // namespace

Status copy_directory_metadata(const std::filesystem::path& source, const std::filesystem::path& target) {
  struct stat info {};
  if (::lstat(source.c_str(), &info) != 0) {
    return errno_error("cannot inspect {}", source.string());
  }
  if (::lchown(target.c_str(), info.st_uid, info.st_gid) != 0 || ::chmod(target.c_str(), info.st_mode & 07777) != 0) {
    return errno_error("cannot set owner and mode of {}", target.string());
  }
  SBENCH_TRY_SET(const auto names, list_xattrs(source));
  for (const auto& name : names) {
    if (!name.starts_with(kOverlayPrefix)) {
      SBENCH_TRY(copy_xattr(source, target, name));
    }
  }
  const std::array<timespec, 2> times = {info.st_mtim, info.st_mtim};
  if (::utimensat(AT_FDCWD, target.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot set the times of {}", target.string());
  }
  return {};
}

Status strip_overlay_xattrs(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const auto names, list_xattrs(path));
  for (const auto& name : names) {
    if (name.starts_with(kOverlayPrefix) && ::lremovexattr(path.c_str(), name.c_str()) != 0) {
      return errno_error("cannot remove the xattr {} of {}", name, path.string());
    }
  }
  return {};
}

}  // namespace sbench
