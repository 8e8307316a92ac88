// union_fs_remove.cpp: unlink and rmdir: whiteouts over what lower branches have, pins for what is still in use.
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/scan.h"

namespace sbench::union_fs {
namespace {

constexpr std::size_t kPinsMax = 4096;

}  // namespace

// The file stays reachable without a name. Called before the name goes.
void UnionFs::pin(Node& node, int directory, const char* name) {
  NodeExtra& extra = node.more();
  const std::lock_guard guard(extra.lock);
  if (extra.pin != nullptr || pins_.load(std::memory_order_relaxed) >= kPinsMax) {
    return;
  }
  Fd fd(::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (fd.valid()) {
    extra.pin = std::make_shared<const Fd>(std::move(fd));
    pins_.fetch_add(1, std::memory_order_relaxed);
  }
}

int UnionFs::put_whiteout(int directory, const std::string& name, bool upper_present) {
  if (dialect_.aufs) {
    const int code = work_.link_base_file(directory, whiteout_of(name).c_str());
    return code == EEXIST ? 0 : code;
  }
  if (!upper_present) {
    return work_.make_whiteout_device(directory, name.c_str());
  }
  const std::string made = work_.fresh_name();
  if (const int code = work_.make_whiteout_device(work_.fd(), made.c_str()); code != 0) {
    return code;
  }
  if (::renameat(work_.fd(), made.c_str(), directory, name.c_str()) != 0) {
    const int code = errno;
    work_.discard(made);
    return code;
  }
  return 0;
}

void UnionFs::name_gone_locked(Node* node, const Found& found, bool upper) {
  const std::uint64_t links = found.status.st_nlink;
  if (links <= 1) {
    if (node != nullptr) {
      detach_locked(*node, true);
    }
    return;
  }
  const auto guard = pseudo_links_.hold();
  const std::uint64_t shown = upper ? pseudo_links_.shown_of(found.status.st_ino).value_or(0)
                                    : branches_.shown(found.branch, found.status.st_ino);
  const auto copy = pseudo_links_.upper_of(shown);
  if (!copy) {
    return;
  }
  if (!upper) {
    pseudo_links_.take_lower_name(shown);
  }
  struct stat status {};
  if (::fstatat(pseudo_links_.folder()->get(), PseudoLinks::name_of(shown).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      pseudo_links_.names_of(shown, status.st_nlink) == 0) {
    if (node != nullptr) {
      pin(*node, pseudo_links_.folder()->get(), PseudoLinks::name_of(shown).c_str());
      node->linked.store(false, std::memory_order_release);
      detach_locked(*node, true);
    }
    pseudo_links_.remove(shown);
  }
}

void UnionFs::detach_locked(Node& node, bool last_link) {
  if (last_link) {
    node.gone.store(true);
    table_.detach(node);
  }
}

Status UnionFs::remove_upper_directory(int parent_fd, const std::string& name, bool lower) {
  if (!lower && ::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR) == 0) {
    return {};
  }
  if (!lower && errno != ENOTEMPTY && errno != EEXIST) {
    return answer();
  }
  // It holds whiteouts, or leaves one: it goes to the work area in one step and is taken apart there.
  const std::string made = work_.fresh_name();
  if (lower && !dialect_.aufs) {
    if (const int code = work_.make_whiteout_device(work_.fd(), made.c_str()); code != 0) {
      return make_error(code, "cannot make a whiteout for {}", name);
    }
    if (::renameat2(work_.fd(), made.c_str(), parent_fd, name.c_str(), RENAME_EXCHANGE) != 0) {
      Error error = errno_error("cannot put a whiteout over {}", name);
      work_.discard(made);
      return error;
    }
  } else {
    if (lower) {
      if (const int code = put_whiteout(parent_fd, name, true); code != 0) {
        return make_error(code, "cannot make a whiteout for {}", name);
      }
    }
    if (::renameat2(parent_fd, name.c_str(), work_.fd(), made.c_str(), RENAME_NOREPLACE) != 0) {
      return errno_error("cannot remove {}", name);
    }
  }
  work_.discard(made);
  return {};
}

Node* UnionFs::known_node(const Found& found) {
  if (found.branch != kUpper && found.status.st_nlink > 1) {
    const auto guard = pseudo_links_.hold();
    if (const auto upper = pseudo_links_.upper_of(branches_.shown(found.branch, found.status.st_ino))) {
      return table_.find(branches_.key(kUpper, *upper));
    }
  }
  return table_.find(branches_.key(found.branch, found.status.st_ino));
}

Result<bool> UnionFs::is_empty_locked(Node& directory) {
  DirectoryState& of = *directory.directory;
  if (of.index == nullptr && of.branches.size() > 1) {
    SBENCH_TRY(build_index_locked(directory));
  }
  if (of.index != nullptr) {
    return of.index->visible() == 0;
  }
  SBENCH_TRY_SET(const FdLease fd, directory_fd(directory, of.branches.front()));
  bool empty = true;
  const int code = scan_directory(fd->get(), [&](const ScannedEntry& entry) {
    if (dialect_.reserved(entry.name)) {
      return 0;
    }
    if (!dialect_.aufs && (entry.type == DT_CHR || entry.type == DT_UNKNOWN)) {
      struct stat status {};
      if (::fstatat(fd->get(), std::string(entry.name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          is_overlay_whiteout(status)) {
        return 0;
      }
    }
    empty = false;
    return ECANCELED;
  });
  if (code != 0 && code != ECANCELED) {
    return answer(code);
  }
  return empty;
}

Status UnionFs::remove_name(Node& parent, std::string_view name_view, bool directory) {
  if (name_view.size() > dialect_.name_max()) {
    return answer(ENAMETOOLONG);
  }
  if (dialect_.reserved(name_view)) {
    return answer(ENOENT);
  }
  if (name_view == "." || name_view == "..") {
    return answer(directory ? (name_view == "." ? EINVAL : ENOTEMPTY) : EISDIR);
  }
  if (!parent.is_directory()) {
    return answer(ENOTDIR);
  }
  if (!branches_.has_upper()) {
    return answer(EROFS);
  }
  const std::string name(name_view);
  const SharedTree tree(tree_);
  if (!parent.is_upper()) {
    // A failing call must not copy anything up.
    const std::shared_lock lock(parent.directory->lock);
    SBENCH_TRY_SET(NameState state, probe_locked(parent, name, false));
    if (!state.found) {
      return answer(ENOENT);
    }
    if (directory) {
      SBENCH_TRY_SET(Node* node, node_for(parent, name, std::move(*state.found)));
      const Dropped held(table_, node);
      if (!node->is_directory()) {
        return answer(ENOTDIR);
      }
      const DirectoryLock own(node->directory->lock);
      SBENCH_TRY_SET(const bool empty, is_empty_locked(*node));
      if (!empty) {
        return answer(ENOTEMPTY);
      }
    }
  }
  SBENCH_TRY(ensure_upper(parent));
  const DirectoryLock lock(parent.directory->lock);
  if (wants_index(parent)) {
    SBENCH_TRY(build_index_locked(parent));
  }
  SBENCH_TRY_SET(NameState state, probe_locked(parent, name, true));
  if (!state.found) {
    return answer(ENOENT);
  }
  const bool is_directory = S_ISDIR(state.found->status.st_mode);
  if (directory != is_directory) {
    return answer(directory ? ENOTDIR : EISDIR);
  }
  const bool in_upper = state.found->branch == kUpper;
  SBENCH_TRY_SET(const FdLease fd, upper_fd(parent));
  if (directory) {
    SBENCH_TRY_SET(Node* node, node_for(parent, name, std::move(*state.found)));
    const Dropped held(table_, node);
    const DirectoryLock own(node->directory->lock);
    SBENCH_TRY_SET(const bool empty, is_empty_locked(*node));
    if (!empty) {
      return answer(ENOTEMPTY);
    }
    SBENCH_TRY_SET(const FdLease there, directory_fd(*node, node->branch));
    pin(*node, there->get(), ".");
    if (in_upper) {
      SBENCH_TRY(remove_upper_directory(fd->get(), name, state.lower));
    } else if (const int code = put_whiteout(fd->get(), name, false); code != 0) {
      return make_error(code, "cannot make a whiteout for {}", name);
    }
    node->directory->dead.store(true, std::memory_order_release);
    drop_index_locked(*node);
    detach_locked(*node, true);
  } else {
    Node* node = known_node(*state.found);
    const Dropped held(table_, node);
    if (node != nullptr && !node->linked.load() && node->parent == &parent && node->name == name) {
      SBENCH_TRY_SET(const FdLease there, directory_fd(parent, state.found->branch));
      pin(*node, there->get(), name.c_str());
    }
    if (state.lower) {
      if (const int code = put_whiteout(fd->get(), name, in_upper); code != 0) {
        return make_error(code, "cannot make a whiteout for {}", name);
      }
    }
    if (in_upper && (!state.lower || dialect_.aufs) && ::unlinkat(fd->get(), name.c_str(), 0) != 0) {
      return answer();
    }
    name_gone_locked(node, *state.found, in_upper);
  }
  note_removed_locked(parent, name, state.lower);
  return {};
}

Status UnionFs::unlink(NodeId parent, std::string_view name) { return remove_name(node_of(parent), name, false); }

Status UnionFs::remove_directory(NodeId parent, std::string_view name) {
  return remove_name(node_of(parent), name, true);
}

}  // namespace sbench::union_fs
