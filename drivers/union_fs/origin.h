// origin.h: the "origin" attribute: which lower file a file of the writable branch was copied from.
//
// The kernel's overlayfs format (fs/overlayfs/overlayfs.h, ovl_fb): version 0,
// magic 0xfb, length, flags (0 on little-endian machines), handle type, the
// file system's UUID, the file handle of name_to_handle_at(2). It keeps st_ino
// constant over copy-up and remount.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "drivers/union_fs/branches.h"

namespace sbench::union_fs {

/// The attribute's value for (fd, name) of a lower branch; empty when its file system gives no handles or no UUID.
[[nodiscard]] std::string encode_origin(const Branches& branches, BranchIndex branch, int fd, const char* name);

/// The st_ino the origin was shown with; nothing when it is none of a lower branch's files.
[[nodiscard]] std::optional<std::uint64_t> decode_origin(const Branches& branches, const std::string& value);

}  // namespace sbench::union_fs
