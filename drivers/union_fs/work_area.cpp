#include "drivers/union_fs/work_area.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/layer/whiteout.h"
#include "drivers/union_fs/scan.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

constexpr const char* kAufsOrphans = ".wh..wh.orph";
constexpr const char* kAufsPseudoLinks = ".wh..wh.plnk";  // pseudo_links.h fills it

Result<Fd> open_folder(int parent, const char* name, const std::string& shown) {
  if (::mkdirat(parent, name, 0700) != 0 && errno != EEXIST) {
    return errno_error("cannot make the work folder {}", shown);
  }
  Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot open the work folder {}", shown);
  }
  return fd;
}

}  // namespace

Status WorkArea::open(UnionDialect dialect, int upper_root, const std::optional<std::filesystem::path>& work) {
  upper_root_ = upper_root;
  if (dialect == UnionDialect::overlay) {
    if (!work) {
      return plain_error(EINVAL, "a writable union in the overlay dialect needs a work folder");
    }
    SBENCH_TRY_SET(const Fd folder, open_file(*work, O_RDONLY | O_DIRECTORY));
    SBENCH_TRY_SET(fd_, open_folder(folder.get(), "work", (*work / "work").string()));
    if (::faccessat(fd_.get(), "incompat/volatile", F_OK, 0) == 0) {
      return plain_error(EINVAL, "{} was mounted volatile and may be damaged: its {} has to go first", work->string(),
                         "work/incompat/volatile");
    }
  } else {
    // What stands in the branch's root (the folders, the base of whiteouts) is made at once, and its times kept.
    struct stat before {};
    if (::fstat(upper_root, &before) != 0) {
      return errno_error("cannot stat the writable branch");
    }
    SBENCH_TRY_SET(fd_, open_folder(upper_root, kAufsOrphans, kAufsOrphans));
    if (const int code = make_aufs_base(); code != 0) {
      return make_error(code, "cannot make {}", kAufsBaseName);
    }
    SBENCH_TRY_SET([[maybe_unused]] const Fd links, open_folder(upper_root, kAufsPseudoLinks, kAufsPseudoLinks));
    const std::array<timespec, 2> times = {before.st_atim, before.st_mtim};
    if (::utimensat(upper_root, "", times.data(), AT_EMPTY_PATH) != 0) {
      return errno_error("cannot set the times of the writable branch");
    }
  }
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return make_error(errno == EWOULDBLOCK ? EBUSY : errno, "cannot lock the union's work folder");
  }
  struct stat area {};
  struct stat upper {};
  if (::fstat(fd_.get(), &area) != 0 || ::fstat(upper_root, &upper) != 0) {
    return errno_error("cannot stat the work folder");
  }
  if (area.st_dev != upper.st_dev) {
    return plain_error(EINVAL, "the work folder is not on the writable branch's file system");
  }
  std::vector<std::string> leftovers;
  if (const int code = scan_directory(fd_.get(), [&](const ScannedEntry& entry) {
        leftovers.emplace_back(entry.name);
        return 0;
      });
      code != 0) {
    return make_error(code, "cannot read the work folder");
  }
  for (const auto& name : leftovers) {
    SBENCH_TRY(remove_tree_at(fd_.get(), name, "work/" + name));
  }
  return {};
}

std::string WorkArea::fresh_name() { return fmt::format("#{:x}", next_.fetch_add(1)); }

Result<Fd> WorkArea::make_file(std::string& name) {
  name.clear();
  if (unnamed_files_.load(std::memory_order_relaxed)) {
    Fd file(::openat(fd_.get(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    if (file.valid()) {
      return file;
    }
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT) {
      return errno_error("cannot make a file in the work folder");
    }
    unnamed_files_ = false;
  }
  name = fresh_name();
  Fd file(::openat(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) {
    return errno_error("cannot make a file in the work folder");
  }
  return file;
}

int WorkArea::place(const Fd& file, const std::string& made_name, int directory, const char* name) {
  if (!made_name.empty()) {
    return ::renameat2(fd_.get(), made_name.c_str(), directory, name, RENAME_NOREPLACE) == 0 ? 0 : errno;
  }
  if (::linkat(file.get(), "", directory, name, AT_EMPTY_PATH) == 0) {
    return 0;
  }
  if (errno != ENOENT) {
    return errno;
  }
  // Without CAP_DAC_READ_SEARCH.
  return ::linkat(AT_FDCWD, ProcPath(file.get(), "").c_str(), directory, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

int WorkArea::make_device_base() {
  const std::string name = fresh_name();
  if (::mknodat(fd_.get(), name.c_str(), S_IFCHR, 0) != 0) {
    return errno;
  }
  if (!device_base_.empty()) {
    ::unlinkat(fd_.get(), device_base_.c_str(), 0);
  }
  device_base_ = name;
  return 0;
}

int WorkArea::make_whiteout_device(int directory, const char* name) {
  const std::lock_guard guard(base_lock_);
  if (device_base_.empty()) {
    if (const int code = make_device_base(); code != 0) {
      return code;
    }
  }
  if (::linkat(fd_.get(), device_base_.c_str(), directory, name, 0) == 0) {
    return 0;
  }
  if (errno != EMLINK) {
    return errno;
  }
  if (const int code = make_device_base(); code != 0) {
    return code;
  }
  return ::linkat(fd_.get(), device_base_.c_str(), directory, name, 0) == 0 ? 0 : errno;
}

int WorkArea::make_aufs_base() {
  const Fd file(::openat(upper_root_, kAufsBaseName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
  return file.valid() || errno == EEXIST ? 0 : errno;
}

int WorkArea::link_base_file(int directory, const char* name) {
  if (::linkat(upper_root_, kAufsBaseName, directory, name, 0) == 0) {
    return 0;
  }
  if (errno == ENOENT) {
    if (const int code = make_aufs_base(); code != 0) {
      return code;
    }
    if (::linkat(upper_root_, kAufsBaseName, directory, name, 0) == 0) {
      return 0;
    }
  }
  if (errno != EMLINK) {
    return errno;
  }
  // The base file has all the links its file system allows: a fresh one takes its place.
  const std::lock_guard guard(base_lock_);
  const std::string fresh = fresh_name();
  const Fd file(::openat(fd_.get(), fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file.valid() || ::renameat(fd_.get(), fresh.c_str(), upper_root_, kAufsBaseName) != 0) {
    return errno;
  }
  return ::linkat(upper_root_, kAufsBaseName, directory, name, 0) == 0 ? 0 : errno;
}

void WorkArea::discard(const std::string& name) {
  // What cannot be removed now is removed at the next open().
  if (::unlinkat(fd_.get(), name.c_str(), 0) != 0 && errno == EISDIR) {
    (void)remove_tree_at(fd_.get(), name, name);
  }
}

}  // namespace sbench::union_fs
