// fold.h: laying an overlay upper directory over a plain tree, for good.
#pragma once

#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// Moves what `upper` holds into `tree`, on the same file system: whiteouts
/// delete, opaque directories empty, files replace what stood there (never
/// written in place: it may be hard-linked elsewhere). `upper` is left with
/// empty directories. overlayfs' own xattrs do not reach the tree.
[[nodiscard]] Status fold_upper(const std::filesystem::path& upper, const std::filesystem::path& tree);

}  // namespace sbench
