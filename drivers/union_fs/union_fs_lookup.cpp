// union_fs_lookup.cpp: from names to nodes, and where a node's file stands.
#include <unistd.h>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/origin.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {

bool UnionFs::may_have_origins(Node& directory) {
  DirectoryState& of = *directory.directory;
  if (of.branches.size() > 1) {
    return true;
  }
  Known known = of.impure.load(std::memory_order_relaxed);
  if (known == Known::unknown) {
    const auto fd = upper_fd(directory);
    std::string value;
    known = fd.ok() && get_xattr(fd.value()->get(), "", dialect_.impure.c_str(), value) == 0 ? Known::yes : Known::no;
    of.impure.store(known, std::memory_order_relaxed);
  }
  return known == Known::yes;
}

std::uint64_t UnionFs::shown_inode(Node& parent, int fd, const std::string& name, const Found& found) {
  if (found.branch == kUpper && may_have_origins(parent)) {
    std::string value;
    if (get_xattr(fd, name, dialect_.origin.c_str(), value) == 0) {
      if (const auto inode = decode_origin(branches_, value)) {
        return *inode;
      }
    }
  }
  return branches_.shown(found.branch, found.status.st_ino);
}

Result<Node*> UnionFs::node_for(Node& parent, std::string_view name, Found&& found) {
  if (!S_ISDIR(found.status.st_mode) && found.status.st_nlink > 1 && branches_.has_upper()) {
    return linked_node_for(parent, name, std::move(found));
  }
  return plain_node_for(parent, name, std::move(found));
}

// A file with several names may be one whose lower names mean a copy.
Result<Node*> UnionFs::linked_node_for(Node& parent, std::string_view name, Found&& found) {
  const auto guard = pseudo_links_.hold();
  std::optional<std::uint64_t> shown;
  ino_t inode = found.status.st_ino;
  if (found.branch == kUpper) {
    shown = pseudo_links_.shown_of(inode);
  } else if (const auto upper = pseudo_links_.upper_of(branches_.shown(found.branch, inode))) {
    shown = branches_.shown(found.branch, inode);
    inode = *upper;
  }
  if (!shown) {
    return plain_node_for(parent, name, std::move(found));
  }
  if (Node* known = table_.find(branches_.key(kUpper, inode))) {
    return known;
  }
  auto fresh = std::make_unique<Node>();
  fresh->name = name;
  fresh->holds = 1;
  fresh->key = branches_.key(kUpper, inode);
  fresh->inode = *shown;
  fresh->branch = kUpper;
  fresh->type = static_cast<unsigned char>(IFTODT(found.status.st_mode));
  fresh->linked = true;
  if (options_.metacopy && S_ISREG(found.status.st_mode)) {
    // What the found name says of data may be a lower file's: the copy tells itself.
    SBENCH_TRY_SET(const LayerMarks marks, marks_of(pseudo_links_.folder()->get(), PseudoLinks::name_of(*shown), false));
    if (marks.metacopy) {
      Found copy;
      copy.metacopy = true;
      SBENCH_TRY(follow_redirect(*root_, 0, marks.redirect, copy));
      fresh->metacopy = true;
      fresh->more().data_branch = copy.data_branch;
      fresh->more().data_path = std::move(copy.data_path);
    }
  }
  fresh->parent = &parent;
  NodeTable::hold(parent);
  return table_.put(std::move(fresh));
}

Result<Node*> UnionFs::plain_node_for(Node& parent, std::string_view name, Found&& found) {
  const Key key = branches_.key(found.branch, found.status.st_ino);
  if (Node* known = table_.find(key)) {
    return known;
  }
  SBENCH_TRY_SET(const FdLease fd, directory_fd(parent, found.branch));
  auto fresh = std::make_unique<Node>();
  fresh->name = name;
  fresh->holds = 1;
  fresh->key = key;
  fresh->inode = shown_inode(parent, fd->get(), fresh->name, found);
  fresh->branch = found.branch;
  fresh->type = static_cast<unsigned char>(IFTODT(found.status.st_mode));
  if (S_ISDIR(found.status.st_mode)) {
    fresh->directory = std::make_unique<DirectoryState>();
    fresh->directory->branches = std::move(found.branches);
    fresh->directory->merged = fresh->directory->branches.size() > 1;
    fresh->directory->moved = std::move(found.moved);
    fresh->directory->redirect = std::move(found.redirect);
    fresh->directory->xattr_whiteouts = std::move(found.xattr_whiteouts);
  } else if (found.metacopy) {
    fresh->metacopy = true;
    fresh->more().data_branch = found.data_branch;
    fresh->more().data_path = std::move(found.data_path);
  }
  fresh->parent = &parent;
  NodeTable::hold(parent);
  return table_.put(std::move(fresh));
}

struct stat UnionFs::shown(Node& node, struct stat status) {
  status.st_ino = node.inode;
  if (node.gone.load(std::memory_order_relaxed)) {
    status.st_nlink = 0;
  } else if (node.linked.load(std::memory_order_relaxed)) {
    status.st_nlink = static_cast<nlink_t>(pseudo_links_.names_of(node.inode, status.st_nlink));
  } else if (node.is_directory() && node.directory->merged.load(std::memory_order_relaxed)) {
    status.st_nlink = 1;  // subdirectories are not counted over branches, as in overlayfs
  }
  return status;
}

Result<Entry> UnionFs::entry_of(Node& node, const struct stat& status) {
  Entry entry;
  entry.node = id_of(node);
  entry.generation = node.generation;
  entry.attributes = shown(node, status);
  return entry;
}

Result<Entry> UnionFs::lookup(NodeId parent_id, std::string_view name) {
  if (name.size() > dialect_.name_max()) {
    return answer(ENAMETOOLONG);
  }
  if (dialect_.reserved(name)) {
    return answer(ENOENT);
  }
  Node& parent = node_of(parent_id);
  if (!parent.is_directory()) {
    return answer(ENOTDIR);
  }
  SharedTree tree(tree_);
  if (name == "." || name == "..") {
    Node& node = name == "." || parent.parent == nullptr ? parent : *parent.parent;
    SBENCH_TRY_SET(const struct stat status, stat_node(node));
    NodeTable::hold(node);
    return entry_of(node, status);
  }
  if (wants_index(parent)) {
    const DirectoryLock lock(parent.directory->lock);
    SBENCH_TRY(build_index_locked(parent));
  }
  std::shared_lock lock(parent.directory->lock);
  SBENCH_TRY_SET(NameState state, probe_locked(parent, std::string(name), false));
  if (!state.found) {
    return answer(ENOENT);
  }
  struct stat status = state.found->status;
  SBENCH_TRY_SET(Node* node, node_for(parent, name, std::move(*state.found)));
  lock.unlock();
  if (node->linked.load(std::memory_order_acquire)) {
    SBENCH_TRY_SET(status, stat_node(*node));
    return entry_of(*node, status);
  }
  if (node->pin() != nullptr && !node->gone.load()) {
    tree.unlock();
    adopt_name(*node, parent, name);
    tree.lock();
  }
  if (node->metacopy.load(std::memory_order_relaxed)) {
    const auto data = open_below(node->more().data_branch, node->more().data_path, O_PATH | O_NOFOLLOW);
    struct stat of_data {};
    if (data.ok() && ::fstat(data.value().get(), &of_data) == 0) {
      status.st_blocks = of_data.st_blocks;
    }
  }
  return entry_of(*node, status);
}

// A hard-linked file whose known name went is reached by this other name from now on.
void UnionFs::adopt_name(Node& node, Node& parent, std::string_view name) {
  const std::unique_lock tree(tree_);
  auto state = probe_locked(parent, std::string(name), false);
  if (!state.ok() || !state.value().found || node.pin() == nullptr ||
      !(branches_.key(state.value().found->branch, state.value().found->status.st_ino) == node.key)) {
    return;
  }
  give_name(node, parent, std::string(name));
}

void UnionFs::give_name(Node& node, Node& parent, std::string name) {
  NodeTable::hold(parent);
  Node* old = std::exchange(node.parent, &parent);
  node.name = std::move(name);
  if (NodeExtra* extra = node.extra.load()) {
    const std::lock_guard guard(extra->lock);
    if (extra->pin != nullptr) {
      extra->pin = nullptr;
      pins_.fetch_sub(1);
    }
  }
  table_.drop(old);
}

void UnionFs::forget(NodeId node, std::uint64_t references) {
  if (references > 0) {
    table_.drop(&node_of(node), references);
  }
}

Result<Reach> UnionFs::reach(Node& node) {
  Reach at;
  at.place.branch = node.branch.load(std::memory_order_acquire);
  if (node.parent == nullptr) {
    SBENCH_TRY_SET(at.place.directory, directory_fd(node, at.place.branch));
    return at;
  }
  at.lock = std::shared_lock(node.parent->directory->lock);
  at.place.branch = node.branch.load(std::memory_order_acquire);
  if (node.linked.load(std::memory_order_acquire)) {
    at.place.directory = pseudo_links_.folder();
    at.link = std::make_unique<std::string>(PseudoLinks::name_of(node.inode));
    at.place.name = at.link->c_str();
    return at;
  }
  if (FdLease pinned = node.pin()) {
    at.place.directory = std::move(pinned);
    return at;
  }
  if (node.gone.load(std::memory_order_relaxed)) {
    return answer(ESTALE);  // more files were removed while in use than are kept
  }
  SBENCH_TRY_SET(at.place.directory, directory_fd(*node.parent, at.place.branch));
  at.place.name = node.name.c_str();
  return at;
}

Result<struct stat> UnionFs::stat_node(Node& node) {
  SBENCH_TRY_SET(const Reach at, reach(node));
  struct stat status {};
  if (::fstatat(at.place.fd(), at.place.name, &status, at.place.flags()) != 0) {
    return answer();
  }
  if (node.metacopy.load(std::memory_order_acquire)) {
    const auto data = open_below(node.more().data_branch, node.more().data_path, O_PATH | O_NOFOLLOW);
    struct stat of_data {};
    if (data.ok() && ::fstat(data.value().get(), &of_data) == 0) {
      status.st_blocks = of_data.st_blocks;
    }
  }
  return status;
}

}  // namespace sbench::union_fs
