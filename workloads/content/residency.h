// residency.h: how much of a file the page cache holds, as mincore(2) tells it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// Bytes of `path` that are in the page cache now (whole pages; at most the file's
/// size rounded up). Reads none of the file's data, though it looks the path up.
[[nodiscard]] Result<std::uint64_t> resident_bytes(const std::filesystem::path& path);

}  // namespace sbench
