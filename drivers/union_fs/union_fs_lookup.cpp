// union_fs_lookup.cpp: from names to nodes: which branches have a name, and where a node's file stands.
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/origin.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

const std::string* moved_path(const std::vector<std::pair<BranchIndex, std::string>>& moved, BranchIndex branch) {
  const auto at = std::lower_bound(moved.begin(), moved.end(), branch,
                                   [](const auto& item, BranchIndex wanted) { return item.first < wanted; });
  return at != moved.end() && at->first == branch ? &at->second : nullptr;
}

std::string joined(const std::string& directory, std::string_view name) {
  return directory.empty() ? std::string(name) : directory + "/" + std::string(name);
}

}  // namespace

Result<Fd> UnionFs::open_below(BranchIndex branch, const std::string& path, int flags) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  Fd fd(static_cast<int>(::syscall(SYS_openat2, branches_[branch].root->get(), path.c_str(), &how, sizeof how)));
  if (!fd.valid()) {
    return errno == EXDEV || errno == ELOOP ? answer(ENOENT) : answer();
  }
  return fd;
}

Result<FdLease> UnionFs::directory_fd(Node& directory, BranchIndex branch) {
  if (directory.parent == nullptr) {
    if (branches_[branch].root == nullptr) {
      return answer(EROFS);
    }
    return branches_[branch].root;
  }
  if (FdLease lease = fds_.find(&directory, branch)) {
    return lease;
  }
  if (directory.directory->dead.load(std::memory_order_acquire)) {
    return answer(ENOENT);
  }
  if (const std::string* path = moved_path(directory.directory->moved, branch)) {
    SBENCH_TRY_SET(Fd fd, open_below(branch, *path, kDirectoryFlags));
    return fds_.insert(&directory, branch, std::move(fd));
  }
  SBENCH_TRY_SET(const FdLease parent, directory_fd(*directory.parent, branch));
  Fd fd(::openat(parent->get(), directory.name.c_str(), kDirectoryFlags));
  if (!fd.valid() && errno == EMFILE) {
    fds_.clear();
    fd = Fd(::openat(parent->get(), directory.name.c_str(), kDirectoryFlags));
  }
  if (!fd.valid()) {
    return answer();
  }
  return fds_.insert(&directory, branch, std::move(fd));
}

std::string UnionFs::lower_path(const Node& directory, BranchIndex branch) const {
  if (directory.parent == nullptr) {
    return {};
  }
  if (const std::string* path = moved_path(directory.directory->moved, branch)) {
    return *path;
  }
  return joined(lower_path(*directory.parent, branch), directory.name);
}

std::string UnionFs::redirect_path(const Node& directory) const {
  if (directory.parent == nullptr) {
    return {};
  }
  const std::string& redirect = directory.directory->redirect;
  return redirect.empty() ? joined(redirect_path(*directory.parent), directory.name) : redirect;
}

bool UnionFs::is_whiteout(const Node& directory, BranchIndex branch, int fd, const char* name,
                          const struct stat& status) const {
  if (dialect_.aufs) {
    return false;
  }
  if (is_overlay_whiteout(status)) {
    return true;
  }
  const auto& marked = directory.directory->xattr_whiteouts;
  if (marked.empty() || !S_ISREG(status.st_mode) || status.st_size != 0 ||
      std::find(marked.begin(), marked.end(), branch) == marked.end()) {
    return false;
  }
  std::string value;
  return get_xattr(fd, name, dialect_.whiteout.c_str(), value) == 0;
}

Result<UnionFs::LayerMarks> UnionFs::marks_of(int fd, const std::string& name, bool directory) {
  LayerMarks marks;
  if (dialect_.aufs) {
    if (directory) {
      const std::string opaque = name.empty() ? kOpaqueName : name + "/" + kOpaqueName;
      marks.opaque = ::faccessat(fd, opaque.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    return marks;
  }
  std::string names;
  if (const int code = list_xattrs(fd, name, names); code != 0) {
    return code == EOPNOTSUPP ? Result<LayerMarks>(marks) : answer(code);
  }
  int failed = 0;
  std::string value;
  for_each_name(names, [&](const char* attribute) {
    if (directory && attribute == dialect_.opaque) {
      failed = get_xattr(fd, name, attribute, value);
      marks.opaque = value == "y";
      marks.xattr_whiteouts = value == "x";
    } else if (attribute == dialect_.redirect) {
      failed = get_xattr(fd, name, attribute, marks.redirect);
    } else if (!directory && attribute == dialect_.metacopy) {
      marks.metacopy = true;
    }
  });
  return failed != 0 ? Result<LayerMarks>(answer(failed)) : marks;
}

Result<NameState> UnionFs::probe_locked(Node& directory, const std::string& name, bool want_lower) {
  NameState state;
  DirectoryState& of = *directory.directory;
  if (of.dead.load(std::memory_order_acquire)) {
    return answer(ENOENT);
  }
  if (of.index != nullptr) {
    const DirectoryIndex::Entry* entry = std::as_const(*of.index).find(name);
    if (entry == nullptr) {
      return state;
    }
    if (entry->whiteout) {  // one of a lower branch has nothing to give way
      state.upper_whiteout = state.lower = entry->branch == kUpper;
      return state;
    }
    state.lower = entry->branch != kUpper || entry->also_lower;
    const auto at = std::find(of.branches.begin(), of.branches.end(), entry->branch) - of.branches.begin();
    SBENCH_TRY(walk_layers(directory, name, static_cast<std::size_t>(at), !entry->also_lower, state));
    return state;
  }
  SBENCH_TRY(walk_layers(directory, name, 0, false, state));
  if (state.upper_whiteout) {
    state.lower = true;
  } else if (state.found && state.found->branch != kUpper) {
    state.lower = true;
  } else if (want_lower && state.found) {
    SBENCH_TRY_SET(state.lower, lower_has(directory, name));
  }
  return state;
}

Result<bool> UnionFs::lower_has(Node& directory, const std::string& name) {
  for (const BranchIndex branch : directory.directory->branches) {
    if (branch == kUpper) {
      continue;
    }
    SBENCH_TRY_SET(const FdLease fd, directory_fd(directory, branch));
    struct stat status {};
    if (::fstatat(fd->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
      return !is_whiteout(directory, branch, fd->get(), name.c_str(), status);
    }
    if (errno != ENOENT) {
      return answer();
    }
    if (dialect_.aufs && ::faccessat(fd->get(), whiteout_of(name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
      return false;
    }
  }
  return false;
}

Status UnionFs::walk_layers(Node& directory, const std::string& name, std::size_t first, bool only,
                            NameState& state) {
  DirectoryState& of = *directory.directory;
  std::optional<Found>& found = state.found;
  for (std::size_t i = first; i < of.branches.size(); ++i) {
    const BranchIndex branch = of.branches[i];
    const bool last = i + 1 == of.branches.size();
    SBENCH_TRY_SET(const FdLease fd, directory_fd(directory, branch));
    struct stat status {};
    if (::fstatat(fd->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) {
        return answer();
      }
      if (dialect_.aufs && !only && of.branches.size() > 1 && (!last || branch == kUpper) &&
          ::faccessat(fd->get(), whiteout_of(name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        state.upper_whiteout = branch == kUpper && !found;
        break;
      }
      if (!last) {
        of.probes.fetch_add(1, std::memory_order_relaxed);
      }
      continue;
    }
    if (is_whiteout(directory, branch, fd->get(), name.c_str(), status)) {
      state.upper_whiteout = branch == kUpper && !found;
      break;
    }
    const bool is_directory = S_ISDIR(status.st_mode);
    if (found && !is_directory) {
      break;
    }
    if (!found) {
      found.emplace();
      found->branch = branch;
      found->status = status;
    }
    if (!is_directory) {
      if (dialect_.aufs || !S_ISREG(status.st_mode) || status.st_size == 0 ||
          (!options_.metacopy && status.st_blocks != 0)) {
        break;
      }
      SBENCH_TRY_SET(const LayerMarks marks, marks_of(fd->get(), name, false));
      if (!marks.metacopy) {
        break;
      }
      if (!options_.metacopy) {
        return make_error(EIO, "{} has its data in a lower branch, and metacopy is off", name);
      }
      found->metacopy = true;
      return follow_redirect(directory, i, marks.redirect.empty() ? name : marks.redirect, *found);
    }
    found->branches.push_back(branch);
    // A directory that nothing of this name lies below may still be redirected.
    if (dialect_.aufs ? only || last : branch + 1u == branches_.size()) {
      break;
    }
    SBENCH_TRY_SET(const LayerMarks marks, marks_of(fd->get(), name, true));
    if (marks.xattr_whiteouts) {
      found->xattr_whiteouts.push_back(branch);
    }
    if (marks.opaque) {
      break;
    }
    if (!marks.redirect.empty()) {
      if (branch == kUpper) {
        found->redirect = marks.redirect.front() == '/' ? marks.redirect.substr(1)
                                                        : joined(redirect_path(directory), marks.redirect);
      }
      return follow_redirect(directory, i, marks.redirect, *found);
    }
    if (only) {
      break;
    }
  }
  return {};
}

// Follows overlayfs' rules: a path is looked up one branch after another, from the branch's root when it is
// absolute, in `directory` otherwise; whiteouts and files in its way end the search, opaque directories end it
// after their branch, and redirects of directories on the way hold for the branches below.
Status UnionFs::follow_redirect(Node& directory, std::size_t at, const std::string& redirect, Found& found) {
  const DirectoryState& of = *directory.directory;
  const BranchIndex start = of.branches[at];
  if (redirect.empty()) {
    return plain_error(EIO, "a metacopy file does not say where its data is");
  }
  bool absolute = redirect.front() == '/';
  std::string path = redirect;
  BranchIndex branch = start;
  for (;;) {
    if (absolute) {
      branch = static_cast<BranchIndex>(branch + 1);
      if (branch >= branches_.size()) {
        break;
      }
    } else {
      const auto next = std::upper_bound(of.branches.begin(), of.branches.end(), branch);
      if (next == of.branches.end()) {
        break;
      }
      branch = *next;
    }
    std::string full = absolute ? path.substr(1) : joined(lower_path(directory, branch), path);
    // The components: for a relative redirect only the last is new, what lies above is known to be merged.
    bool stop = false;
    bool missing = false;
    std::string next_path = path;
    std::size_t begin = absolute ? 0 : full.size() - path.size();
    struct stat status {};
    while (begin < full.size()) {
      std::size_t end = full.find('/', begin);
      end = end == std::string::npos ? full.size() : end;
      const std::string prefix = full.substr(0, end);
      const bool last = end == full.size();
      const auto opened = open_below(branch, prefix, O_PATH | O_NOFOLLOW);
      if (!opened.ok()) {
        if (opened.error().code != ENOENT && opened.error().code != ENOTDIR) {
          return opened.error();
        }
        missing = true;
        stop = opened.error().code == ENOTDIR;
        break;
      }
      const int fd = opened.value().get();
      if (::fstat(fd, &status) != 0) {
        return answer();
      }
      if (is_overlay_whiteout(status) || (!last && !S_ISDIR(status.st_mode)) ||
          (last && S_ISDIR(status.st_mode) == found.metacopy)) {
        missing = true;
        stop = true;
        break;
      }
      SBENCH_TRY_SET(const LayerMarks marks, marks_of(fd, "", S_ISDIR(status.st_mode)));
      if (marks.opaque) {
        stop = true;
      }
      if (last && marks.xattr_whiteouts) {
        found.xattr_whiteouts.push_back(branch);
      }
      if (last && !S_ISDIR(status.st_mode)) {
        stop = !marks.metacopy;
      }
      if (!marks.redirect.empty() && !marks.opaque) {
        const std::string rest = full.substr(end);
        if (marks.redirect.front() == '/') {
          next_path = marks.redirect + rest;
          stop = stop && last && found.metacopy;  // it leads on, also below an opaque directory further up
        } else if (absolute) {
          const std::size_t slash = prefix.rfind('/');
          next_path = "/" + (slash == std::string::npos ? std::string() : prefix.substr(0, slash + 1)) +
                      marks.redirect + rest;
        } else {
          next_path = marks.redirect;
        }
      }
      begin = end + 1;
    }
    if (!missing) {
      if (found.metacopy) {
        if (stop) {
          found.data_branch = branch;
          found.data_path = full;
          return {};
        }
      } else {
        found.branches.push_back(branch);
        found.moved.emplace_back(branch, full);
      }
    }
    if (stop) {
      break;
    }
    path = next_path;
    absolute = path.front() == '/';
  }
  if (found.metacopy) {
    return make_error(EIO, "the data of a metacopy file is missing ({})", redirect);
  }
  return {};
}

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
