#include "drivers/layer/xattr.h"

#include <sys/xattr.h>

#include <array>
#include <vector>

namespace sbench {
namespace {

/// "Has none" in the words of the different file systems.
bool means_none(int code) { return code == ENODATA || code == ENOTSUP; }

/// The value of one attribute of the file at `path`.
Result<std::optional<std::string>> value_at(const std::string& path, const char* attribute, std::string_view shown) {
  std::array<char, 512> buffer{};
  ssize_t size = ::lgetxattr(path.c_str(), attribute, buffer.data(), buffer.size());
  if (size >= 0) {
    return std::optional(std::string(buffer.data(), static_cast<std::size_t>(size)));
  }
  std::string value;
  while (size < 0 && errno == ERANGE) {
    size = ::lgetxattr(path.c_str(), attribute, nullptr, 0);
    if (size >= 0) {
      value.resize(static_cast<std::size_t>(size) + 1);
      size = ::lgetxattr(path.c_str(), attribute, value.data(), value.size());
    }
  }
  if (size < 0) {
    if (means_none(errno)) {
      return std::optional<std::string>();
    }
    return errno_error("cannot read the attribute {} of {}", attribute, shown);
  }
  value.resize(static_cast<std::size_t>(size));
  return std::optional(std::move(value));
}

Result<std::vector<std::string>> names_at(const std::string& path, std::string_view shown) {
  std::array<char, 1024> buffer{};
  std::string text;
  const char* data = buffer.data();
  ssize_t size = ::llistxattr(path.c_str(), buffer.data(), buffer.size());
  while (size < 0 && errno == ERANGE) {
    size = ::llistxattr(path.c_str(), nullptr, 0);
    if (size >= 0) {
      text.resize(static_cast<std::size_t>(size) + 1);
      size = ::llistxattr(path.c_str(), text.data(), text.size());
      data = text.data();
    }
  }
  std::vector<std::string> names;
  if (size < 0) {
    if (means_none(errno)) {
      return names;
    }
    return errno_error("cannot list the attributes of {}", shown);
  }
  std::string_view rest(data, static_cast<std::size_t>(size));
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\0'), rest.size());
    names.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

}  // namespace

bool is_driver_xattr(std::string_view name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

bool is_unlayered_xattr(std::string_view name) { return is_driver_xattr(name) || name == "security.selinux"; }

std::string proc_path(int directory_fd, std::string_view name) {
  return fmt::format("/proc/self/fd/{}/{}", directory_fd, name);
}

Result<Xattrs> read_xattrs(int directory_fd, std::string_view name, std::string_view shown) {
  const std::string path = proc_path(directory_fd, name);
  SBENCH_TRY_SET(const auto names, names_at(path, shown));
  Xattrs xattrs;
  for (const auto& attribute : names) {
    SBENCH_TRY_SET(auto value, value_at(path, attribute.c_str(), shown));
    if (value.has_value()) {
      xattrs.emplace(attribute, std::move(*value));
    }
  }
  return xattrs;
}

Result<std::optional<std::string>> read_xattr(int directory_fd, std::string_view name, const char* attribute,
                                              std::string_view shown) {
  return value_at(proc_path(directory_fd, name), attribute, shown);
}

Status write_xattrs(int directory_fd, std::string_view name, const Xattrs& xattrs, std::string_view shown) {
  if (xattrs.empty()) {
    return {};
  }
  const std::string path = proc_path(directory_fd, name);
  for (const auto& [attribute, value] : xattrs) {
    if (::lsetxattr(path.c_str(), attribute.c_str(), value.data(), value.size(), 0) != 0) {
      return errno_error("cannot set the attribute {} of {}", attribute, shown);
    }
  }
  return {};
}

Status remove_other_xattrs(int directory_fd, std::string_view name, const Xattrs& kept, std::string_view shown) {
  const std::string path = proc_path(directory_fd, name);
  SBENCH_TRY_SET(const auto names, names_at(path, shown));
  for (const auto& attribute : names) {
    if (is_unlayered_xattr(attribute) || kept.contains(attribute)) {
      continue;
    }
    if (::lremovexattr(path.c_str(), attribute.c_str()) != 0 && !means_none(errno)) {
      return errno_error("cannot remove the attribute {} of {}", attribute, shown);
    }
  }
  return {};
}

}  // namespace sbench
