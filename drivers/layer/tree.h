// tree.h: what a directory tree looks like, as a value that can be compared.
//
// The oracle of every semantic check: the same layer changes applied to a
// driver and to a plain directory must give equal trees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// Everything about one path that a container can see and a layer must keep.
struct TreeEntry {
  std::uint32_t mode = 0;  ///< file type and permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;     ///< 0 for directories
  std::uint64_t device_number = 0;  ///< devices only
  std::int64_t mtime_ns = 0;
  std::uint64_t content_hash = 0;  ///< XXH3 of regular files, when asked for
  std::string link_target;         ///< symbolic links only
  std::string hard_link_of;        ///< first path (in sort order) of the same file, when there is an earlier one
  std::map<std::string, std::string> xattrs;  ///< without the union drivers' own (trusted.overlay.*, …)

  friend bool operator==(const TreeEntry&, const TreeEntry&) = default;
};

/// Path from the root (root itself: ".") → entry.
using Tree = std::map<std::string, TreeEntry>;

struct TreeOptions {
  bool content = true;          ///< read and hash regular files
  bool directory_times = true;  ///< record mtimes of directories (else 0)
};

/// Walks `root` without following links or crossing mounts.
[[nodiscard]] Result<Tree> read_tree(const std::filesystem::path& root, const TreeOptions& options = {});

/// One sentence per difference, at most `differences_max`; empty when the trees are equal.
[[nodiscard]] std::vector<std::string> compare_trees(const Tree& expected, const Tree& actual,
                                                     std::size_t differences_max = 10);

}  // namespace sbench
