// layer_branch.h: the directory a layer is unpacked into: its parents, removals and whiteouts.
//
// Whiteouts act on what was there before the tar (and, in a union driver's
// branch, on the lower layers), never on what the tar itself put there, in
// whichever order its entries come. So the names the tar made are remembered,
// each as its directory's inode and its name: links cannot confuse that.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <unordered_set>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/contained.h"

namespace sbench {

class LayerBranch {
 public:
  LayerBranch(ContainedRoot root, WhiteoutStyle style) : root_(std::move(root)), style_(style) {}

  [[nodiscard]] ContainedRoot& root() { return root_; }

  /// A descriptor of the directory `path`, made with its parents (0755, root's) where missing.
  /// It stays open until the next open_parent(), hide() or hide_all().
  [[nodiscard]] Result<int> open_parent(std::string_view path);
  /// Whether new files in the last opened parent inherit an ACL.
  [[nodiscard]] bool parent_has_default_acl() const { return parent_.has_default_acl; }
  /// Remembers that the tar made `name` in the last opened parent.
  void note_unpacked(const std::string& name);

  /// Makes the directory `name`; one that stands there stays, anything else is removed first.
  [[nodiscard]] Status make_directory(int parent, const std::string& name, const std::string& path);
  /// Removes `name` with everything below it. Mounts below it are EBUSY.
  [[nodiscard]] Status remove(int parent, const std::string& name, const std::string& path);
  /// After `name` was made: takes away a mark beside it that would hide it (aufs).
  [[nodiscard]] Status clear_mark(int parent, const std::string& name, const std::string& path);
  /// Whether a file that looks like `status` is this style's mark of a deletion.
  [[nodiscard]] bool is_mark(const struct stat& status) const;

  /// A whiteout: lower content of `name` in the directory `parent_path` goes, or is marked as gone.
  [[nodiscard]] Status hide(const std::string& parent_path, const std::string& name);
  /// An opaque mark: the same for all lower content of the directory `path`.
  [[nodiscard]] Status hide_all(const std::string& path);

 private:
  struct Parent {
    std::string path;  ///< empty: not to be used again
    Fd fd;
    struct stat status {};
    bool has_default_acl = false;
  };

  [[nodiscard]] Result<bool> enter(std::string_view path, bool for_whiteout);
  [[nodiscard]] Result<Fd> make_parents(const std::string& path, bool for_whiteout);
  [[nodiscard]] bool was_unpacked(const struct stat& directory, const std::string& name) const;
  [[nodiscard]] Result<bool> has_mark(int parent, const std::string& name, const std::string& path) const;
  [[nodiscard]] Status put_mark(int parent, const std::string& name, const std::string& path);
  [[nodiscard]] Status set_opaque(int directory, const std::string& path);
  [[nodiscard]] Status make_aufs_mark(int directory, const std::string& name, const std::string& path);

  ContainedRoot root_;
  WhiteoutStyle style_;
  Parent parent_;  ///< the last one opened
  std::unordered_set<std::string> unpacked_;
};

}  // namespace sbench
