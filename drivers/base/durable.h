// durable.h: folders whose entries are on the disk, for files that must outlive a power loss (write_text_atomic() syncs
// the folder it writes to; these are the folders above).
#pragma once

#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// fsync(2) of a folder: what was made, renamed or removed in it stays so.
[[nodiscard]] Status sync_directory(const std::filesystem::path& path);

/// make_directories(), and every folder that it made is on the disk.
[[nodiscard]] Status make_durable_directories(const std::filesystem::path& path);

}  // namespace sbench
