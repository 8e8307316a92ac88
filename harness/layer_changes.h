// layer_changes.h: what a layer does to a tree, as values.
//
// The same list can be carried out in a driver's mounted layer and in a plain
// directory; the two trees must then be equal. Times are set, never taken from
// the clock, so that they can be compared too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

struct LayerChange {
  enum class Kind {
    make_dir,      ///< number: mode
    write_file,    ///< a new file, or new content for an old one; number: bytes
    append,        ///< number: bytes
    patch,         ///< overwrites `number` bytes at offset `number` (inside the file, or beyond its end)
    truncate,      ///< number: new size
    chmod,         ///< number: mode
    chown,         ///< number: uid; the gid is one more
    set_xattr,     ///< target: name
    remove_xattr,  ///< target: name
    symlink,       ///< target: what it points at
    hard_link,     ///< target: the existing path
    rename,        ///< target: the new path, replaced when it exists
    unlink,
    remove_tree,
    make_fifo,    ///< number: mode
    make_device,  ///< a character device; number: minor of major 1
    set_times,
  };
  Kind kind = Kind::write_file;
  std::string path;
  std::string target;
  std::uint64_t number = 0;
};

using LayerChanges = std::vector<LayerChange>;

/// Carries out `changes` below `root`, in order. `serial` (a layer's number)
/// with the path decides contents and times. Every file that was written, and
/// every directory that got or lost an entry, has a set mtime afterwards; chmod
/// and chown leave mtimes alone, as they must.
[[nodiscard]] Status apply_changes(const LayerChanges& changes, const std::filesystem::path& root,
                                   std::uint64_t serial);

/// What changes may ask for where they are carried out.
struct PossibleChanges {
  bool user_xattrs = true;  ///< a file system may know no user.*
  bool devices = true;      ///< a user namespace has no device nodes
  bool owners = true;       ///< one with a single user mapped has no others to give files to
};

/// Five layers: a base and four on top, the first of them with every awkward
/// change there is, the last two random; what is not `possible` is left out, with all that builds on it.
///
/// Left out, because drivers may rightly differ: hard links are made and
/// changed within one layer only (overlayfs breaks them at copy-up unless
/// index=on); no directory of a lower layer is renamed (EXDEV is allowed);
/// directories change xattrs only together with their mode, and times only with
/// their entries (Docker's differ looks at nothing else).
[[nodiscard]] std::vector<LayerChanges> make_layer_changes(std::uint64_t seed, const PossibleChanges& possible);

}  // namespace sbench
