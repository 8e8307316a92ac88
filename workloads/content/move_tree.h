// move_tree.h: moving a directory as mv(1) does.
#pragma once

#include <filesystem>

#include "workloads/case.h"

namespace sbench {

/// Renames `source` to `target`, as a timed phase "rename"; where the kernel answers EXDEV
/// (overlayfs without redirect_dir), copies the tree ("copy") and deletes it ("delete").
/// Content, owner, mode and times are kept. Sets the metric `exdev` to 1 or 0.
[[nodiscard]] Status move_tree(Case& c, const std::filesystem::path& source, const std::filesystem::path& target);

}  // namespace sbench
