#include "drivers/union_fs/xattr_at.h"

#include <fmt/format.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>

namespace sbench::union_fs {

ProcPath::ProcPath(int fd, std::string_view name) : follow_(name.empty()) {
  char* end = text_;
  const auto append = [this, &end](std::string_view part) {
    end = std::copy_n(part.data(), std::min(part.size(), static_cast<std::size_t>(text_ + sizeof text_ - 1 - end)), end);
  };
  const fmt::format_int number(fd);  // format_to_n's mangled name differs between clang and Debian's libfmt, made by gcc
  append("/proc/self/fd/");
  append({number.data(), number.size()});
  if (!follow_) {
    append("/");
    append(name);
  }
  *end = '\0';
}

int get_xattr(int fd, std::string_view name, const char* attribute, std::string& value) {
  const ProcPath path(fd, name);
  const auto get = path.follow() ? ::getxattr : ::lgetxattr;
  char buffer[512];
  ssize_t size = get(path.c_str(), attribute, buffer, sizeof buffer);
  if (size >= 0) {
    value.assign(buffer, static_cast<std::size_t>(size));
    return 0;
  }
  while (errno == ERANGE) {
    size = get(path.c_str(), attribute, nullptr, 0);
    if (size < 0) {
      break;
    }
    value.resize(static_cast<std::size_t>(size));
    size = get(path.c_str(), attribute, value.data(), value.size());
    if (size >= 0) {
      value.resize(static_cast<std::size_t>(size));
      return 0;
    }
  }
  return errno;
}

int set_xattr(int fd, std::string_view name, const char* attribute, std::string_view value, int flags) {
  const ProcPath path(fd, name);
  const auto set = path.follow() ? ::setxattr : ::lsetxattr;
  return set(path.c_str(), attribute, value.data(), value.size(), flags) == 0 ? 0 : errno;
}

int remove_xattr(int fd, std::string_view name, const char* attribute) {
  const ProcPath path(fd, name);
  return (path.follow() ? ::removexattr(path.c_str(), attribute) : ::lremovexattr(path.c_str(), attribute)) == 0
             ? 0
             : errno;
}

int list_xattrs(int fd, std::string_view name, std::string& names) {
  const ProcPath path(fd, name);
  const auto list = path.follow() ? ::listxattr : ::llistxattr;
  char buffer[1024];
  ssize_t size = list(path.c_str(), buffer, sizeof buffer);
  if (size >= 0) {
    names.assign(buffer, static_cast<std::size_t>(size));
    return 0;
  }
  while (errno == ERANGE) {
    size = list(path.c_str(), nullptr, 0);
    if (size < 0) {
      break;
    }
    names.resize(static_cast<std::size_t>(size));
    size = list(path.c_str(), names.data(), names.size());
    if (size >= 0) {
      names.resize(static_cast<std::size_t>(size));
      return 0;
    }
  }
  return errno;
}

}  // namespace sbench::union_fs
