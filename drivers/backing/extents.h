// extents.h: how much of a tree's data no other file shares.
#pragma once

#include <filesystem>

#include "drivers/base/result.h"
#include "drivers/layer/copy_tree.h"

namespace sbench {

/// measure_tree(), without the file extents that are shared with other files
/// (cloned ones, as FIEMAP tells). Writes delayed data out first.
[[nodiscard]] Result<TreeUsage> measure_unshared(const std::filesystem::path& root);

}  // namespace sbench
