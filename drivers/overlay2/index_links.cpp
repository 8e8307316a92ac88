#include "drivers/overlay2/index_links.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <functional>
#include <set>

namespace sbench {

namespace {

namespace fs = std::filesystem;

/// Calls `visit(path relative to root, lstat)` for regular files until it says false.
Status walk_files(const fs::path& root, const std::function<bool(const fs::path&, const struct stat&)>& visit) {
  std::error_code failure;
  for (fs::recursive_directory_iterator it(root, failure), end; !failure && it != end; it.increment(failure)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) != 0) {
      return errno_error("cannot inspect {}", it->path().string());
    }
    if (S_ISREG(info.st_mode) && !visit(it->path().lexically_relative(root), info)) {
      return {};
    }
  }
  if (failure) {
    return make_error(failure.value(), "cannot walk {}", root.string());
  }
  return {};
}

/// overlayfs keeps the difference between a file's link counts above and below in this xattr.
bool is_indexed(const fs::path& upper_file) {
  return ::lgetxattr(upper_file.c_str(), "trusted.overlay.nlink", nullptr, 0) >= 0;
}

}  // namespace

Result<bool> has_index_links(const fs::path& upper) {
  bool found = false;
  SBENCH_TRY(walk_files(upper, [&](const fs::path& path, const struct stat&) {
    found = is_indexed(upper / path);
    return !found;
  }));
  return found;
}

Status copy_up_index_links(const fs::path& upper, const fs::path& merged) {
  std::set<ino_t> indexed;
  SBENCH_TRY(walk_files(upper, [&](const fs::path& path, const struct stat&) {
    struct stat shown {};
    if (is_indexed(upper / path) && ::lstat((merged / path).c_str(), &shown) == 0) {
      indexed.insert(shown.st_ino);
    }
    return true;
  }));
  Status failed;
  SBENCH_TRY(walk_files(merged, [&](const fs::path& path, const struct stat& shown) {
    struct stat above {};
    if (indexed.contains(shown.st_ino) && ::lstat((upper / path).c_str(), &above) != 0 &&
        ::lchown((merged / path).c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1)) != 0) {
      failed = errno_error("cannot copy up {}", (merged / path).string());
    }
    return failed.ok();
  }));
  return failed;
}

}  // namespace sbench
