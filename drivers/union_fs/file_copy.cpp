#include "drivers/union_fs/file_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "drivers/base/file.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

/// errno of "not between these two files": another way may work.
bool is_unsupported(int code) {
  return code == EOPNOTSUPP || code == ENOTTY || code == EXDEV || code == EINVAL || code == ENOSYS || code == EPERM;
}

constexpr std::size_t kChunk = 1 << 20;
constexpr std::size_t kWriteOutStep = 1 << 20;

Status read_and_write(int source, int target, off_t from, off_t end) {
  const std::unique_ptr<char[]> buffer(new char[kChunk]);
  while (from < end) {
    const ssize_t count =
        ::pread(source, buffer.get(), std::min(kChunk, static_cast<std::size_t>(end - from)), from);
    if (count < 0 && errno != EINTR) {
      return errno_error("cannot read the lower file");
    }
    if (count == 0) {
      return {};
    }
    for (ssize_t done = 0; done < count;) {
      const ssize_t written = ::pwrite(target, buffer.get() + done, static_cast<std::size_t>(count - done), from + done);
      if (written < 0) {
        if (errno == EINTR) {
          continue;
        }
        return errno_error("cannot write the copy");
      }
      done += written;
    }
    from += std::max<ssize_t>(count, 0);
  }
  return {};
}

Status copy_range(int source, int target, off_t from, off_t end, bool write_out) {
  while (from < end) {
    off_t in = from;
    off_t out = from;
    const std::size_t wanted = static_cast<std::size_t>(end - from);
    const ssize_t count =
        ::copy_file_range(source, &in, target, &out, write_out ? std::min(kWriteOutStep, wanted) : wanted, 0);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0 && !is_unsupported(errno)) {
      return errno_error("cannot copy the lower file");
    }
    if (count <= 0) {  // 0 is how some file systems say no
      return read_and_write(source, target, from, end);
    }
    if (write_out && from + count < end) {  // the device works on this part while the next is copied
      ::sync_file_range(target, from, count, SYNC_FILE_RANGE_WRITE);
    }
    from += count;
  }
  return {};
}

}  // namespace

Status copy_data(int source, int target, off_t source_size, off_t size, bool write_out) {
  if (size > 0 && source_size == size && ::ioctl(target, FICLONE, source) == 0) {
    return {};
  }
  off_t at = 0;
  while (at < size) {
    off_t start = ::lseek(source, at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) {
      break;
    }
    off_t end = start < 0 ? -1 : ::lseek(source, start, SEEK_HOLE);
    if (start < 0 || end < 0) {  // no such seeking here: all of it is data
      start = at;
      end = size;
    }
    if (start >= size) {
      break;
    }
    SBENCH_TRY(copy_range(source, target, start, std::min(end, size), write_out));
    at = end;
  }
  if (size > 0 && ::ftruncate(target, size) != 0) {
    return errno_error("cannot size the copy");
  }
  return {};
}

Status settle_before_name(int copy) {
  struct statfs on {};
  const bool in_order = ::fstatfs(copy, &on) == 0 && (on.f_type == EXT4_SUPER_MAGIC || on.f_type == XFS_SUPER_MAGIC);
  constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (in_order ? ::sync_file_range(copy, 0, 0, kAll) == 0 : ::fsync(copy) == 0) {
    return {};
  }
  return errno_error("cannot write the copy");
}

int set_times(FileAt target, const struct stat& status) {
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (*target.name != '\0') {
    return ::utimensat(target.fd, target.name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
  }
  return ::utimensat(AT_FDCWD, ProcPath(target.fd, "").c_str(), times, 0) == 0 ? 0 : errno;
}

Status copy_metadata(FileAt source, FileAt target, const struct stat& status, const char* own_prefix) {
  const int flags = AT_SYMLINK_NOFOLLOW | (*target.name == '\0' ? AT_EMPTY_PATH : 0);
  struct stat now {};
  if (::fstatat(target.fd, target.name, &now, flags) != 0) {
    return errno_error("cannot read the copy's attributes");
  }
  if ((now.st_uid != status.st_uid || now.st_gid != status.st_gid) &&
      ::fchownat(target.fd, target.name, status.st_uid, status.st_gid, flags) != 0) {
    return errno_error("cannot set the copy's owner");
  }
  if (!S_ISLNK(status.st_mode) && ::chmod(ProcPath(target.fd, target.name).c_str(), status.st_mode & 07777) != 0) {
    return errno_error("cannot set the copy's mode");
  }
  std::string names;
  if (list_xattrs(source.fd, source.name, names) == 0 && !names.empty()) {
    std::string value;
    int failed = 0;
    for_each_name(names, [&](const char* attribute) {
      if (std::string_view(attribute).starts_with(own_prefix)) {
        return;
      }
      int code = get_xattr(source.fd, source.name, attribute, value);
      if (code == 0) {
        code = set_xattr(target.fd, target.name, attribute, value);
      }
      // security.* of a machine's own policy may be refused; everything else is part of the file.
      if (code != 0 && !std::string_view(attribute).starts_with("security.selinux")) {
        failed = code;
      }
    });
    if (failed != 0) {
      return make_error(failed, "cannot copy extended attributes");
    }
  }
  if (const int code = set_times(target, status); code != 0) {
    return make_error(code, "cannot set the copy's times");
  }
  return {};
}

}  // namespace sbench::union_fs
