#include "drivers/overlay/fold.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <vector>

#include "drivers/backing/metadata.h"
#include "drivers/base/file.h"
#include "drivers/layer/whiteout.h"

namespace sbench {

namespace {

namespace fs = std::filesystem;

Result<std::vector<fs::path>> entries_of(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code failure;
  for (fs::directory_iterator it(directory, failure), end; !failure && it != end; it.increment(failure)) {
    found.push_back(it->path());
  }
  if (failure) {
    return make_error(failure.value(), "cannot list {}", directory.string());
  }
  return found;
}

Result<struct stat> inspect(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  return info;
}

bool is_opaque(const fs::path& directory) {
  char value = 0;
  return ::lgetxattr(directory.c_str(), overlay_opaque_xattr(), &value, 1) == 1 && value == 'y';
}

/// Makes `target` a directory, an empty one when `source` hides what was there.
Status make_room_for_directory(const fs::path& source, const fs::path& target) {
  struct stat there {};
  const bool exists = ::lstat(target.c_str(), &there) == 0;
  if (exists && S_ISDIR(there.st_mode) && !is_opaque(source)) {
    return {};
  }
  SBENCH_TRY(remove_tree(target));
  if (::mkdir(target.c_str(), 0755) != 0) {
    return errno_error("cannot make {}", target.string());
  }
  return {};
}

Status replace_file(const fs::path& source, const fs::path& target) {
  SBENCH_TRY(remove_tree(target));  // also: rename(2) does nothing between two links of one file
  if (::rename(source.c_str(), target.c_str()) != 0) {
    return errno_error("cannot move {}", source.string());
  }
  return strip_overlay_xattrs(target);
}

}  // namespace

Status fold_upper(const fs::path& upper, const fs::path& tree) {
  SBENCH_TRY_SET(const struct stat upper_info, inspect(upper));
  SBENCH_TRY_SET(const auto entries, entries_of(upper));
  for (const auto& source : entries) {
    const fs::path target = tree / source.filename();
    SBENCH_TRY_SET(const struct stat info, inspect(source));
    if (S_ISCHR(info.st_mode) && info.st_rdev == 0) {
      SBENCH_TRY(remove_tree(target));
    } else if (S_ISDIR(info.st_mode)) {
      SBENCH_TRY(make_room_for_directory(source, target));
      SBENCH_TRY(fold_upper(source, target));
    } else {
      SBENCH_TRY(replace_file(source, target));
    }
  }
  // Taking the entries out changed the directory's own mtime: put it back before it is copied.
  const timespec times[2] = {upper_info.st_mtim, upper_info.st_mtim};
  if (::utimensat(AT_FDCWD, upper.c_str(), times, 0) != 0) {
    return errno_error("cannot set the times of {}", upper.string());
  }
  return copy_directory_metadata(upper, tree);
}

}  // namespace sbench
