// posix_operations.h: what programs do to files, as seeded lists that can be carried out on any tree.
//
// The model of a driver is the plain directory: the same list on both must have
// the same outcomes, call by call, and leave the same tree. Lists are drawn
// before anything runs, so they do not depend on what happens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/rng.h"

namespace sbench::test {

enum class OperationKind {
  write_new, overwrite, append, truncate, read, unlink, make_directory, remove_directory, rename, rename_no_replace,
  rename_exchange, link, symlink, read_link, make_fifo, make_device, chmod, chown, utimes, set_xattr, remove_xattr,
  get_xattr, set_acl, list, stat, punch_hole, copy_range, map_shared, open_slot, write_slot, read_slot, close_slot,
  remove_tree, count
};
[[nodiscard]] const char* to_string(OperationKind kind);

/// One call or two. `path` and `other` are relative to the tree's root; what `number` and `size` mean depends on the kind.
struct Operation {
  OperationKind kind = OperationKind::stat;
  std::string path;
  std::string other;
  std::uint64_t number = 0;
  std::uint64_t size = 0;

  [[nodiscard]] std::string text() const;
};

/// `count` operations below the directory `top` (relative to the root, "" for the root itself).
[[nodiscard]] std::vector<Operation> draw_operations(Rng& rng, std::size_t count, const std::string& top = {});

/// Files, by device and inode.
using FileSet = std::set<std::pair<std::uint64_t, std::uint64_t>>;
/// The files below `root` that have several names.
[[nodiscard]] FileSet hard_linked_files(const std::filesystem::path& root);

/// Carries operations out below `root` and tells what came of each. One thread at a time.
class PosixTree {
 public:
  /// Operations on the files `left_alone` are not carried out.
  explicit PosixTree(std::filesystem::path root, FileSet left_alone = {})
      : root_(std::move(root)), left_alone_(std::move(left_alone)) {}

  static constexpr const char* kLeftAlone = "left alone";
  /// "EEXIST", "ok", "ok" with what was read, or kLeftAlone. Never follows a symbolic link at the end of a path.
  [[nodiscard]] std::string apply(const Operation& operation);

 private:
  [[nodiscard]] std::string at(const std::string& path) const { return (root_ / path).string(); }
  [[nodiscard]] bool leaves_alone(const Operation& operation) const;
  [[nodiscard]] std::string write_with(const Operation& operation, int flags, bool at_offset);
  [[nodiscard]] std::string slot(const Operation& operation);

  std::filesystem::path root_;
  FileSet left_alone_;
  std::map<std::uint64_t, Fd> slots_;  ///< open files by number, kept over unlink and rename
};

/// Gives everything below `root`, itself included, a modification time that follows from its path, far in the past.
void set_old_times(const std::filesystem::path& root);

}  // namespace sbench::test
