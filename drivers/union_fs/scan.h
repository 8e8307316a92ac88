// scan.h: reading a directory of a branch with getdents64, straight from the kernel's buffer.
#pragma once

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sbench::union_fs {

struct ScannedEntry {
  std::string_view name;
  std::uint64_t inode = 0;
  unsigned char type = 0;
  std::int64_t offset = 0;  ///< lseek() there continues after this entry
};

inline bool is_dot(std::string_view name) { return name == "." || name == ".."; }

/// Decodes the record at `position` of a getdents64 buffer and advances.
inline ScannedEntry next_record(const char* buffer, std::size_t& position) {
  const auto* record = reinterpret_cast<const struct dirent64*>(buffer + position);
  position += record->d_reclen;
  return {record->d_name, record->d_ino, record->d_type, record->d_off};
}

/// getdents64(2): bytes read, 0 at the end, -1 and errno.
inline long read_records(int fd, char* buffer, std::size_t size) { return ::syscall(SYS_getdents64, fd, buffer, size); }

/// Calls `take` for every entry but "." and ".." from the start; 0 or an errno. `take` returns 0 to go on.
template <typename Take>
int scan_directory(int fd, Take take) {
  if (::lseek(fd, 0, SEEK_SET) < 0) {
    return errno;
  }
  alignas(8) char buffer[32768];
  for (;;) {
    const long size = read_records(fd, buffer, sizeof buffer);
    if (size <= 0) {
      return size == 0 ? 0 : errno;
    }
    for (std::size_t position = 0; position < static_cast<std::size_t>(size);) {
      const ScannedEntry entry = next_record(buffer, position);
      if (!is_dot(entry.name)) {
        if (const int code = take(entry); code != 0) {
          return code;
        }
      }
    }
  }
}

}  // namespace sbench::union_fs
