// copy_tree.h: a deep copy of a tree: the vfs driver's whole mechanism.
//
// Per file: FICLONE, then copy_file_range, then read and write. Hard links
// within the tree, holes, owners, modes, nanosecond mtimes and xattrs are kept.
#pragma once

#include <cstdint>
#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

struct CopyStats {
  std::uint64_t files = 0;
  std::uint64_t bytes_copied = 0;  ///< moved as data
  std::uint64_t bytes_cloned = 0;  ///< shared by FICLONE
};

enum class CopyMode {
  copy,       ///< files get their own data (cloned where the file system can)
  copy_data,  ///< as copy, but every byte is moved: no FICLONE, no block shared (the native driver)
  hard_link,  ///< files become hard links; only directories are new (the legacy overlay driver)
};

/// Copies the content of `source` into the existing empty directory `target`,
/// and the metadata of the root itself.
[[nodiscard]] Result<CopyStats> copy_tree(const std::filesystem::path& source, const std::filesystem::path& target,
                                          CopyMode mode = CopyMode::copy);

/// Bytes and inodes allocated below `root` (st_blocks, each inode once).
struct TreeUsage {
  std::uint64_t bytes_allocated = 0;
  std::uint64_t inodes = 0;
};
[[nodiscard]] Result<TreeUsage> measure_tree(const std::filesystem::path& root);

}  // namespace sbench
