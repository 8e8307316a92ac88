// acl.h: POSIX access control lists as extended attributes hold them (linux/posix_acl_xattr.h, version 2).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

namespace sbench::cow_fs {

inline constexpr const char* kAccessAcl = "system.posix_acl_access";
inline constexpr const char* kDefaultAcl = "system.posix_acl_default";

/// The list with its owner, mask (or group) and other entries set as chmod(2) to `mode` does. Nothing when it is no list.
[[nodiscard]] std::optional<std::string> acl_after_chmod(std::string_view acl, mode_t mode);
/// The permission bits that a list says; nothing when it is no list.
[[nodiscard]] std::optional<mode_t> mode_of_acl(std::string_view acl);
/// Whether it says no more than permission bits can.
[[nodiscard]] bool is_minimal_acl(std::string_view acl);

/// What a new file gets from its directory's default list, when created with `mode`: `mode` loses what the list does not
/// give, and the list is narrowed to it. Nothing when it is no list.
[[nodiscard]] std::optional<std::string> inherited_acl(std::string_view default_acl, mode_t& mode);

}  // namespace sbench::cow_fs
