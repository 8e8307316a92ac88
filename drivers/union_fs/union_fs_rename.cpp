// union_fs_rename.cpp: rename(2) with all flags. Everything is copied up before; the move itself has the tree alone.
//
// A directory with lower content can only move where an overlay redirect may
// say where that content stays; otherwise EXDEV, as in overlayfs and aufs, and
// the caller copies. RENAME_WHITEOUT is refused (EINVAL) in the overlay dialect,
// where its result could not be seen.
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/scan.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {

struct UnionFs::Side {
  Node& parent;
  std::string name;
  FdLease fd;       ///< of the parent in the writable branch
  NameState state;
  Node* node = nullptr;

  [[nodiscard]] bool exists() const { return node != nullptr; }
  [[nodiscard]] bool is_directory() const { return exists() && node->is_directory(); }
  [[nodiscard]] bool has_lower_content() const { return is_directory() && (node->directory->merged || !node->is_upper()); }
};

Status UnionFs::prepare_rename(Node& parent, std::string_view name, bool must_exist) {
  Node* node = nullptr;
  {
    const SharedTree tree(tree_);
    if (wants_index(parent)) {
      const DirectoryLock lock(parent.directory->lock);
      SBENCH_TRY(build_index_locked(parent));
    }
    const std::shared_lock lock(parent.directory->lock);
    SBENCH_TRY_SET(NameState state, probe_locked(parent, std::string(name), false));
    if (!state.found) {
      return must_exist ? Status(answer(ENOENT)) : Status();
    }
    if (S_ISDIR(state.found->status.st_mode)) {
      const bool lower_content = state.found->branches.size() > 1 || state.found->branch != kUpper;
      if (lower_content && (dialect_.aufs || !options_.redirect_dir)) {
        return answer(EXDEV);
      }
    }
    SBENCH_TRY_SET(node, node_for(parent, name, std::move(*state.found)));
  }
  const Dropped held(table_, node);
  SBENCH_TRY(copy_up(*node, CopyUp::metadata));
  if (node->linked.load(std::memory_order_acquire)) {
    const SharedTree tree(tree_);
    return link_up(parent, std::string(name), *node);
  }
  return {};
}

Status UnionFs::look_at(Side& side) {
  SBENCH_TRY_SET(side.state, probe_locked(side.parent, side.name, true));
  SBENCH_TRY_SET(side.fd, upper_fd(side.parent));
  if (side.state.found) {
    Found found = *side.state.found;
    SBENCH_TRY_SET(side.node, node_for(side.parent, side.name, std::move(found)));
  }
  return {};
}

namespace {

bool is_above(const Node* node, const Node* below) {
  for (; below != nullptr; below = below->parent) {
    if (below == node) {
      return true;
    }
  }
  return false;
}

}  // namespace

Status UnionFs::check_rename(const Side& from, const Side& to, unsigned flags) {
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (!from.exists()) {
    return answer(ENOENT);
  }
  if ((flags & RENAME_NOREPLACE) != 0 && to.exists()) {
    return answer(EEXIST);
  }
  if (exchange && !to.exists()) {
    return answer(ENOENT);
  }
  if (from.is_directory() && is_above(from.node, &to.parent)) {
    return answer(EINVAL);
  }
  if (to.is_directory() && is_above(to.node, &from.parent)) {
    return answer(exchange ? EINVAL : ENOTEMPTY);
  }
  if (!exchange && to.exists() && from.node != to.node) {
    if (from.is_directory() != to.is_directory()) {
      return answer(from.is_directory() ? ENOTDIR : EISDIR);
    }
    if (to.is_directory()) {
      SBENCH_TRY_SET(const bool empty, is_empty_locked(*to.node));
      if (!empty) {
        return answer(ENOTEMPTY);
      }
    }
  }
  if ((from.has_lower_content() || (exchange && to.has_lower_content())) && (dialect_.aufs || !options_.redirect_dir)) {
    return answer(EXDEV);
  }
  // Somebody may have replaced the file since it was copied up.
  if (from.state.found->branch != kUpper || (exchange && to.state.found->branch != kUpper)) {
    return answer(EAGAIN);
  }
  return {};
}

// What lower content `side` has must be found from its new place, and none that is there already.
Status UnionFs::mark_moved(Side& side, const Side& target) {
  int code = 0;
  if (side.has_lower_content()) {
    DirectoryState& of = *side.node->directory;
    std::vector<std::pair<BranchIndex, std::string>> moved;
    for (const BranchIndex branch : of.branches) {
      if (branch != kUpper) {
        moved.emplace_back(branch, lower_path(*side.node, branch));
      }
    }
    std::string redirect = redirect_path(*side.node);
    code = union_fs::set_xattr(side.fd->get(), side.name, dialect_.redirect.c_str(), "/" + redirect);
    if (code == 0) {
      of.moved = std::move(moved);
      of.redirect = std::move(redirect);
    }
  } else if (side.is_directory()) {
    if (target.state.lower) {
      code = dialect_.aufs ? work_.link_base_file(side.fd->get(), (side.name + "/" + kOpaqueName).c_str())
                           : union_fs::set_xattr(side.fd->get(), side.name, dialect_.opaque.c_str(), "y");
      code = code == EEXIST ? 0 : code;
    }
  } else if (side.node->metacopy.load()) {
    std::string redirect;
    if (get_xattr(side.fd->get(), side.name, dialect_.redirect.c_str(), redirect) != 0 || redirect.empty() ||
        redirect.front() != '/') {
      const std::string directory = redirect_path(side.parent);
      const std::string name = redirect.empty() ? side.name : redirect;
      redirect = directory.empty() ? "/" + name : "/" + directory + "/" + name;
      code = union_fs::set_xattr(side.fd->get(), side.name, dialect_.redirect.c_str(), redirect);
    }
  }
  return code == 0 ? Status() : Status(make_error(code, "cannot mark {} for its new place", side.name));
}

// A directory that is empty in the union may hold whiteouts: it has to be empty in the writable branch too.
Status UnionFs::clear_target(Side& to) {
  Fd fd(::openat(to.fd->get(), to.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return answer();
  }
  std::vector<std::string> names;
  if (const int code = scan_directory(fd.get(), [&](const ScannedEntry& entry) {
        names.emplace_back(entry.name);
        return 0;
      });
      code != 0) {
    return answer(code);
  }
  if (names.empty()) {
    return {};
  }
  if (dialect_.aufs) {
    // It cannot be emptied without showing lower names again: it is removed instead.
    return remove_upper_directory(to.fd->get(), to.name, to.state.lower);
  }
  if (const int code = union_fs::set_xattr(fd.get(), "", dialect_.opaque.c_str(), "y"); code != 0) {
    return make_error(code, "cannot make {} opaque", to.name);
  }
  for (const auto& name : names) {
    if (::unlinkat(fd.get(), name.c_str(), 0) != 0) {
      return answer();
    }
  }
  return {};
}

Status UnionFs::move_files(Side& from, Side& to, unsigned flags) {
  const int source = from.fd->get();
  const int target = to.fd->get();
  const char* old_name = from.name.c_str();
  const char* new_name = to.name.c_str();
  if ((flags & RENAME_EXCHANGE) != 0) {
    return ::renameat2(source, old_name, target, new_name, RENAME_EXCHANGE) == 0 ? Status() : Status(answer());
  }
  if (to.is_directory() && to.node->is_upper()) {
    SBENCH_TRY(clear_target(to));
  }
  if (dialect_.aufs) {
    if (from.state.lower && (flags & RENAME_WHITEOUT) == 0) {
      if (const int code = put_whiteout(source, from.name, true); code != 0) {
        return make_error(code, "cannot make a whiteout for {}", from.name);
      }
    }
    if (::renameat2(source, old_name, target, new_name, flags & RENAME_WHITEOUT) != 0) {
      Error error = answer();
      if (from.state.lower) {
        ::unlinkat(source, whiteout_of(from.name).c_str(), 0);
      }
      return error;
    }
    if (to.state.lower || to.state.upper_whiteout) {
      ::unlinkat(target, whiteout_of(to.name).c_str(), 0);
    }
    return {};
  }
  if (from.is_directory() && to.state.upper_whiteout) {
    // A directory cannot replace a whiteout, but trade places with it: it is wanted there, or goes.
    if (::renameat2(source, old_name, target, new_name, RENAME_EXCHANGE) != 0) {
      return answer();
    }
    return from.state.lower || ::unlinkat(source, old_name, 0) == 0 ? Status() : Status(answer());
  }
  if (::renameat2(source, old_name, target, new_name, from.state.lower ? RENAME_WHITEOUT : 0) == 0) {
    return {};
  }
  if (errno != EINVAL || !from.state.lower) {
    return answer();
  }
  // The file system has no RENAME_WHITEOUT: two steps.
  if (::renameat(source, old_name, target, new_name) != 0) {
    return answer();
  }
  const int code = work_.make_whiteout_device(source, old_name);
  return code == 0 ? Status() : Status(make_error(code, "cannot make a whiteout for {}", from.name));
}

void UnionFs::move_node(Node& node, const Side& from, const Side& to) {
  const bool known_here = node.parent == &from.parent && node.name == from.name;
  if (known_here || node.pin() != nullptr) {
    give_name(node, to.parent, to.name);
  }
  note_put_locked(to.parent, to.name, node);
  if (may_have_origins(from.parent) || node.inode != node.key.inode) {
    mark_impure(to.parent, to.fd->get());
  }
}

Status UnionFs::rename_exclusive(Side& from, Side& to, unsigned flags) {
  SBENCH_TRY(look_at(from));
  SBENCH_TRY(look_at(to));
  SBENCH_TRY(check_rename(from, to, flags));
  if (from.node == to.node) {
    return {};  // two names of one file: nothing happens, as rename(2) says
  }
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  SBENCH_TRY(mark_moved(from, to));
  if (exchange) {
    SBENCH_TRY(mark_moved(to, from));
  } else if (to.exists() && !to.node->linked.load() && to.node->parent == &to.parent && to.node->name == to.name) {
    SBENCH_TRY_SET(const FdLease there, directory_fd(to.parent, to.node->branch));
    pin(*to.node, there->get(), to.name.c_str());
  }
  SBENCH_TRY(move_files(from, to, flags));
  if (exchange) {
    Node& one = *from.node;
    Node& other = *to.node;
    const bool other_known = other.parent == &to.parent && other.name == to.name;
    move_node(one, from, to);
    if (other_known || other.pin() != nullptr) {
      give_name(other, from.parent, from.name);
    }
    note_put_locked(from.parent, from.name, other);
    if (may_have_origins(to.parent) || other.inode != other.key.inode) {
      mark_impure(from.parent, from.fd->get());
    }
    return {};
  }
  if (to.exists()) {
    if (to.is_directory()) {
      to.node->directory->dead.store(true, std::memory_order_release);
      drop_index_locked(*to.node);
    }
    if (to.is_directory()) {
      detach_locked(*to.node, true);
    } else {
      name_gone_locked(to.node, *to.state.found, to.state.found->branch == kUpper);
    }
  }
  note_removed_locked(from.parent, from.name, from.state.lower && (flags & RENAME_WHITEOUT) == 0);
  if ((flags & RENAME_WHITEOUT) != 0) {
    drop_index_locked(from.parent);
  }
  move_node(*from.node, from, to);
  return {};
}

Status UnionFs::rename(NodeId parent_id, std::string_view name, NodeId new_parent_id, std::string_view new_name,
                       unsigned flags) {
  const unsigned known = RENAME_NOREPLACE | RENAME_EXCHANGE | (dialect_.aufs ? RENAME_WHITEOUT : 0);
  if ((flags & ~known) != 0 || ((flags & RENAME_EXCHANGE) != 0 && flags != RENAME_EXCHANGE)) {
    return answer(EINVAL);
  }
  if (dialect_.reserved(name)) {
    return answer(ENOENT);
  }
  SBENCH_TRY(check_new_name(name));
  SBENCH_TRY(check_new_name(new_name));
  Node& parent = node_of(parent_id);
  Node& new_parent = node_of(new_parent_id);
  if (!parent.is_directory() || !new_parent.is_directory()) {
    return answer(ENOTDIR);
  }
  for (;;) {
    SBENCH_TRY(prepare_rename(parent, name, true));
    if ((flags & RENAME_EXCHANGE) != 0) {
      SBENCH_TRY(prepare_rename(new_parent, new_name, true));
    }
    {
      const SharedTree tree(tree_);
      SBENCH_TRY(ensure_upper(parent));
      SBENCH_TRY(ensure_upper(new_parent));
    }
    Side from{parent, std::string(name), nullptr, {}, nullptr};
    Side to{new_parent, std::string(new_name), nullptr, {}, nullptr};
    Status done;
    {
      const std::unique_lock tree(tree_);
      done = rename_exclusive(from, to, flags);
    }
    table_.drop(from.node);
    table_.drop(to.node);
    if (done.ok() || done.error().code != EAGAIN) {
      return done;
    }
  }
}

}  // namespace sbench::union_fs
