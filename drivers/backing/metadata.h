// metadata.h: carrying one directory's metadata to another directory.
#pragma once

#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// Owner, mode, xattrs (overlayfs' own excepted) and mtime of `source` to the existing `target`; other xattrs of `target` go.
[[nodiscard]] Status copy_directory_metadata(const std::filesystem::path& source, const std::filesystem::path& target);

/// Removes overlayfs' own xattrs (trusted.overlay.*) from a file; links are not followed.
[[nodiscard]] Status strip_overlay_xattrs(const std::filesystem::path& path);

}  // namespace sbench
