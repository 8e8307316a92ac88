// xattr.h: extended attributes of any file, named relative to its directory's descriptor.
//
// Links, devices and fifos have attributes too but cannot be opened for them,
// so names go through /proc/self/fd; nothing here follows a final symbolic link.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "drivers/base/result.h"

namespace sbench {

using Xattrs = std::map<std::string, std::string>;

/// Attributes that a union driver keeps for itself (trusted.overlay.*, user.overlay.*).
[[nodiscard]] bool is_driver_xattr(std::string_view name);

/// Attributes that belong to the machine or the driver, not to a layer: is_driver_xattr() and security.selinux.
[[nodiscard]] bool is_unlayered_xattr(std::string_view name);

/// What `name` of the directory `directory_fd` is called in calls that only take paths; "." is the directory.
[[nodiscard]] std::string proc_path(int directory_fd, std::string_view name);

/// Every attribute of `name`; none where the file system keeps none. `shown` names the file in errors.
[[nodiscard]] Result<Xattrs> read_xattrs(int directory_fd, std::string_view name, std::string_view shown);

/// One attribute; nothing when it is missing or unsupported.
[[nodiscard]] Result<std::optional<std::string>> read_xattr(int directory_fd, std::string_view name,
                                                            const char* attribute, std::string_view shown);

/// Sets each of `xattrs`.
[[nodiscard]] Status write_xattrs(int directory_fd, std::string_view name, const Xattrs& xattrs,
                                  std::string_view shown);

/// Removes the layer attributes of `name` that are not in `kept`.
[[nodiscard]] Status remove_other_xattrs(int directory_fd, std::string_view name, const Xattrs& kept,
                                         std::string_view shown);

}  // namespace sbench
