#include "drivers/layer/copy_tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/layer/stream_buffer.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

/// errno of "not between these two files": another way may work.
bool is_unsupported(int code) {
  return code == EOPNOTSUPP || code == ENOTTY || code == EXDEV || code == EINVAL || code == ENOSYS || code == EPERM ||
         code == ETXTBSY;
}

class TreeCopier {
 public:
  TreeCopier(int target_fd, CopyMode mode)
      : target_fd_(target_fd),
        mode_(mode),
        may_clone_(mode != CopyMode::copy_data),
        may_copy_range_(mode != CopyMode::copy_data) {}

  Result<WalkStep> visit(const Visited& file) {
    if (file.is_directory()) {
      SBENCH_TRY(make_directory(file));
      return WalkStep::enter;
    }
    SBENCH_TRY(enter_directory_of(file));
    if (mode_ == CopyMode::hard_link) {
      if (::linkat(file.directory_fd, file.name.c_str(), parent_fd_.get(), file.name.c_str(), 0) == 0) {
        stats_.files += 1;
        return WalkStep::skip;
      }
      if (errno != EMLINK) {
        return errno_error("cannot link {}", file.path);
      }
    }
    SBENCH_TRY(copy_file(file));
    return WalkStep::skip;
  }

  /// Modes and times of directories, which filling them would change.
  Status finish() {
    for (auto directory = directories_.rbegin(); directory != directories_.rend(); ++directory) {
      SBENCH_TRY_SET(const Fd fd, open_directory(target_fd_, directory->path));
      SBENCH_TRY(write_xattrs(fd.get(), ".", directory->xattrs, directory->path));
      const struct stat& status = directory->status;
      const timespec times[2] = {status.st_atim, status.st_mtim};
      if (::fchown(fd.get(), status.st_uid, status.st_gid) != 0 || ::fchmod(fd.get(), status.st_mode & 07777) != 0 ||
          ::futimens(fd.get(), times) != 0) {
        return errno_error("cannot set owner, mode and time of {}", directory->path);
      }
    }
    return {};
  }

  [[nodiscard]] const CopyStats& stats() const { return stats_; }

 private:
  struct Directory {
    std::string path;
    struct stat status;
    Xattrs xattrs;
  };

  Status make_directory(const Visited& file) {
    SBENCH_TRY_SET(Xattrs xattrs, read_xattrs(file.directory_fd, file.name, file.path));
    xattrs.erase("security.selinux");
    directories_.push_back({file.path, file.status, std::move(xattrs)});
    if (file.path != "." && ::mkdirat(target_fd_, file.path.c_str(), 0700) != 0) {
      return errno_error("cannot make the directory {}", file.path);
    }
    return {};
  }

  Status enter_directory_of(const Visited& file) {
    const auto slash = file.path.rfind('/');
    const std::string_view parent =
        slash == std::string::npos ? std::string_view(".") : std::string_view(file.path).substr(0, slash);
    if (!parent_fd_.valid() || parent != parent_path_) {
      parent_path_ = parent;
      SBENCH_TRY_SET(parent_fd_, open_directory(target_fd_, parent_path_));
    }
    return {};
  }

  /// True when `file` is a further name of a file copied before, and was linked to it.
  Result<bool> link_to_copy(const Visited& file) {
    if (file.status.st_nlink < 2) {
      return false;
    }
    const auto [first, inserted] = copies_.emplace(std::pair(file.status.st_dev, file.status.st_ino), file.path);
    if (inserted) {
      return false;
    }
    if (::linkat(target_fd_, first->second.c_str(), parent_fd_.get(), file.name.c_str(), 0) == 0) {
      return true;
    }
    if (errno != EMLINK) {
      return errno_error("cannot link {} to {}", file.path, first->second);
    }
    first->second = file.path;
    return false;
  }

  Status copy_file(const Visited& file) {
    stats_.files += 1;
    SBENCH_TRY_SET(const bool linked, link_to_copy(file));
    if (linked) {
      return {};
    }
    if (S_ISREG(file.status.st_mode)) {
      return copy_regular(file);
    }
    if (S_ISLNK(file.status.st_mode)) {
      SBENCH_TRY(copy_link(file));
    } else if (::mknodat(parent_fd_.get(), file.name.c_str(), (file.status.st_mode & S_IFMT) | 0600,
                         file.status.st_rdev) != 0) {
      return errno_error("cannot make {}", file.path);
    }
    return copy_special_metadata(file);
  }

  Status copy_link(const Visited& file) {
    std::string target(4096, '\0');
    const ssize_t size = ::readlinkat(file.directory_fd, file.name.c_str(), target.data(), target.size());
    if (size < 0) {
      return errno_error("cannot read the link {}", file.path);
    }
    target.resize(static_cast<std::size_t>(size));
    if (::symlinkat(target.c_str(), parent_fd_.get(), file.name.c_str()) != 0) {
      return errno_error("cannot make the link {}", file.path);
    }
    return {};
  }

  Status copy_special_metadata(const Visited& file) {
    const int fd = parent_fd_.get();
    const char* name = file.name.c_str();
    if (::fchownat(fd, name, file.status.st_uid, file.status.st_gid, AT_SYMLINK_NOFOLLOW) != 0 ||
        (!S_ISLNK(file.status.st_mode) && ::fchmodat(fd, name, file.status.st_mode & 07777, 0) != 0)) {
      return errno_error("cannot set owner and mode of {}", file.path);
    }
    SBENCH_TRY(copy_xattrs(file));
    const timespec times[2] = {file.status.st_atim, file.status.st_mtim};
    if (::utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot set the time of {}", file.path);
    }
    return {};
  }

  Status copy_xattrs(const Visited& file) {
    SBENCH_TRY_SET(Xattrs xattrs, read_xattrs(file.directory_fd, file.name, file.path));
    xattrs.erase("security.selinux");
    return write_xattrs(parent_fd_.get(), file.name, xattrs, file.path);
  }

  Status copy_regular(const Visited& file) {
    const Fd source(::openat(file.directory_fd, file.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!source.valid()) {
      return errno_error("cannot open {}", file.path);
    }
    const Fd target(
        ::openat(parent_fd_.get(), file.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!target.valid()) {
      return errno_error("cannot make the file {}", file.path);
    }
    if (file.status.st_size > 0) {
      SBENCH_TRY(copy_content(source.get(), target.get(), file));
    }
    if (::fchown(target.get(), file.status.st_uid, file.status.st_gid) != 0 ||
        ::fchmod(target.get(), file.status.st_mode & 07777) != 0) {
      return errno_error("cannot set owner and mode of {}", file.path);
    }
    SBENCH_TRY(copy_xattrs(file));
    const timespec times[2] = {file.status.st_atim, file.status.st_mtim};
    if (::futimens(target.get(), times) != 0) {
      return errno_error("cannot set the time of {}", file.path);
    }
    return {};
  }

  Status copy_content(int source, int target, const Visited& file) {
    if (may_clone_) {
      if (::ioctl(target, FICLONE, source) == 0) {
        stats_.bytes_cloned += static_cast<std::uint64_t>(file.status.st_size);
        return {};
      }
      if (!is_unsupported(errno)) {
        return errno_error("cannot clone {}", file.path);
      }
      may_clone_ = false;
    }
    off_t position = 0;
    while (position < file.status.st_size) {
      off_t start = ::lseek(source, position, SEEK_DATA);
      if (start < 0 && errno == ENXIO) {
        break;
      }
      off_t end = start < 0 ? -1 : ::lseek(source, start, SEEK_HOLE);
      if (start < 0 || end < 0) {  // no such seeking here: all of it is data
        start = position;
        end = file.status.st_size;
      }
      SBENCH_TRY(copy_range(source, target, start, end, file));
      position = end;
    }
    if (::ftruncate(target, file.status.st_size) != 0) {
      return errno_error("cannot size {}", file.path);
    }
    return {};
  }

  Status copy_range(int source, int target, off_t position, off_t end, const Visited& file) {
    while (may_copy_range_ && position < end) {
      loff_t from = position;
      loff_t to = position;
      const ssize_t count = ::copy_file_range(source, &from, target, &to, static_cast<std::size_t>(end - position), 0);
      if (count <= 0) {
        if (count < 0 && errno == EINTR) {
          continue;
        }
        if (count < 0 && !is_unsupported(errno)) {
          return errno_error("cannot copy {}", file.path);
        }
        may_copy_range_ = count == 0;  // 0 is how some file systems say no: this range is read and written
        break;
      }
      position += count;
      stats_.bytes_copied += static_cast<std::uint64_t>(count);
    }
    while (position < end) {
      SBENCH_TRY_SET(const std::size_t count, move_chunk(source, target, position, end, file));
      if (count == 0) {
        break;  // the file became shorter
      }
      position += static_cast<off_t>(count);
      stats_.bytes_copied += count;
    }
    return {};
  }

  Result<std::size_t> move_chunk(int source, int target, off_t position, off_t end, const Visited& file) {
    const std::size_t wanted = std::min(kStreamBufferBytes, static_cast<std::size_t>(end - position));
    const ssize_t count = ::pread(source, buffer_.get(), wanted, position);
    if (count < 0) {
      return errno_error("cannot read {}", file.path);
    }
    for (ssize_t done = 0; done < count;) {
      const ssize_t written =
          ::pwrite(target, buffer_.get() + done, static_cast<std::size_t>(count - done), position + done);
      if (written < 0) {
        return errno_error("cannot write {}", file.path);
      }
      done += written;
    }
    return static_cast<std::size_t>(count);
  }

  int target_fd_;
  CopyMode mode_;
  bool may_clone_;       ///< false once the file systems said no
  bool may_copy_range_;  ///< likewise; never for copy_data, as it may share blocks
  CopyStats stats_;
  Fd parent_fd_;  ///< of the target directory that was written last
  std::string parent_path_;
  std::map<std::pair<dev_t, ino_t>, std::string> copies_;  ///< multiply linked files → path of their copy
  std::vector<Directory> directories_;
  std::unique_ptr<char[]> buffer_{new char[kStreamBufferBytes]};
};

}  // namespace

Result<CopyStats> copy_tree(const std::filesystem::path& source, const std::filesystem::path& target, CopyMode mode) {
  SBENCH_TRY_SET(const Fd target_fd, open_file(target, O_RDONLY | O_DIRECTORY));
  TreeCopier copier(target_fd.get(), mode);
  SBENCH_TRY(walk_tree(source, [&](const Visited& file) { return copier.visit(file); }));
  SBENCH_TRY(copier.finish());
  return copier.stats();
}

Result<TreeUsage> measure_tree(const std::filesystem::path& root) {
  TreeUsage usage;
  std::set<std::pair<dev_t, ino_t>> seen;
  SBENCH_TRY(walk_tree(root, [&](const Visited& file) -> Result<WalkStep> {
    const bool linked = !file.is_directory() && file.status.st_nlink > 1;
    if (!linked || seen.emplace(file.status.st_dev, file.status.st_ino).second) {
      usage.bytes_allocated += static_cast<std::uint64_t>(file.status.st_blocks) * 512;
      usage.inodes += 1;
    }
    return WalkStep::enter;
  }));
  return usage;
}

}  // namespace sbench
