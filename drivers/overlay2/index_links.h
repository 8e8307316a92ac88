// index_links.h: making overlayfs' index part of the layer.
//
// With index=on, a copied-up hard link is one file under all its names, but
// names that were not touched are found through the work directory's index
// alone. A committed layer has no work directory, so before a commit those
// names are copied up too: each becomes a link in the upper directory.
#pragma once

#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// Whether some name of a copied-up file may still stand in a lower layer.
[[nodiscard]] Result<bool> has_index_links(const std::filesystem::path& upper);

/// Copies up every name in `merged` (a mounted overlay over `upper`) of files
/// that are in `upper` under another name. Walks the whole merged tree.
[[nodiscard]] Status copy_up_index_links(const std::filesystem::path& upper, const std::filesystem::path& merged);

}  // namespace sbench
