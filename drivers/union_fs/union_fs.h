// union_fs.h: a merged view of read-only branches and one writable branch, as a FileSystem.
//
// Branches are plain directories of a real file system; what the union writes
// is a directory that others understand: aufs' (`.wh.` whiteouts) or the
// kernel's overlayfs' (0:0 devices, trusted.overlay.* attributes). Nobody else
// may change a branch while a union over it is open. FORMAT.md says what lies
// in the writable branch and where the union differs from a plain directory.
//
// Memory: one node (about 150 bytes and its name; a directory about 350 more,
// plus 2 bytes a branch) for each file somebody holds a reference to and for
// each directory above one, and nothing for files that were forgotten; cached
// directories up to `directory_cache_bytes` (those with open handles beyond it,
// while they are open); `cached_fds` descriptors, one for each open file and
// open directory, and up to 4096 for files that were unlinked but are still referenced.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "drivers/base/file_system.h"
#include "drivers/base/result.h"

namespace sbench {

enum class UnionDialect { aufs, overlay };

/// When a copy-up reaches the device.
enum class UnionSync {
  copy_up,   ///< before it gets its name, as overlayfs does: after a power cut a file is old or new, never empty
  unordered, ///< when its file system likes; sync() and sync_file() work: safe when the process dies, not on power cuts
  none,      ///< sync() and sync_file() do nothing either: overlayfs' "volatile"
};

inline constexpr std::size_t kUnionLowerMax = 500;

struct UnionOptions {
  UnionDialect dialect = UnionDialect::overlay;
  std::vector<std::filesystem::path> lower;    ///< nearest first; 1 to kUnionLowerMax (0 with an upper)
  std::optional<std::filesystem::path> upper;  ///< none: the union is read-only
  /// overlay with an upper: an existing folder on the upper's file system that nothing else uses.
  /// Leftovers of a killed union are removed from it. aufs keeps its work area in the upper.
  std::optional<std::filesystem::path> work;
  bool redirect_dir = false;  ///< overlay: directories with lower content can be renamed (else EXDEV)
  bool metacopy = false;      ///< overlay: chown, chmod, … copy no data; needs redirect_dir for kernel mounts
  bool userxattr = false;     ///< overlay: user.overlay.* instead of trusted.overlay.*
  UnionSync sync = UnionSync::copy_up;
  std::size_t directory_cache_bytes = 32u << 20;
  std::size_t cached_fds = 1024;  ///< of directories
};

/// EINVAL when options contradict each other; errnos of the branches. The process's umask should be 0.
[[nodiscard]] Result<std::unique_ptr<FileSystem>> open_union(const UnionOptions& options);

}  // namespace sbench
