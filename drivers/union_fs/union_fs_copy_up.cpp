// union_fs_copy_up.cpp: bringing lower files and directories into the writable branch.
//
// A copy is finished (data, owner, mode, attributes, times, and on the device if
// asked for) before it gets its name, in one link(2) or rename(2). Its parent
// directories stand there before it; their times stay what they were.
#include <linux/fs.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/origin.h"
#include "drivers/union_fs/scan.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {

void UnionFs::set_origin(FileAt source, BranchIndex branch, FileAt copy) {
  // Without it only the inode number changes at the next mount: failures do not matter.
  const std::string value = encode_origin(branches_, branch, source.fd, source.name);
  if (!value.empty()) {
    (void)union_fs::set_xattr(copy.fd, copy.name, dialect_.origin.c_str(), value);
  }
}

void UnionFs::mark_impure(Node& directory, int upper) {
  if (directory.directory->impure.load(std::memory_order_relaxed) != Known::yes) {
    (void)union_fs::set_xattr(upper, "", dialect_.impure.c_str(), "y");
    directory.directory->impure.store(Known::yes, std::memory_order_relaxed);
  }
}

Status UnionFs::ensure_upper(Node& directory) {
  if (directory.is_upper()) {
    return {};
  }
  if (!branches_.has_upper()) {
    return answer(EROFS);
  }
  Node& parent = *directory.parent;
  SBENCH_TRY(ensure_upper(parent));
  const DirectoryLock lock(parent.directory->lock);
  if (directory.is_upper()) {
    return {};
  }
  if (directory.directory->dead.load()) {
    return answer(ENOENT);
  }
  const BranchIndex branch = directory.branch;
  SBENCH_TRY_SET(const FdLease source, directory_fd(directory, branch));
  SBENCH_TRY_SET(const FdLease target, upper_fd(parent));
  struct stat status {};
  struct stat parent_status {};
  if (::fstat(source->get(), &status) != 0 || ::fstat(target->get(), &parent_status) != 0) {
    return errno_error("cannot stat a directory to be copied up");
  }
  const std::string made = work_.fresh_name();
  if (::mkdirat(work_.fd(), made.c_str(), 0700) != 0) {
    return errno_error("cannot make a directory in the work folder");
  }
  const FileAt copy{work_.fd(), made.c_str()};
  set_origin({source->get(), ""}, branch, copy);
  Status done = copy_metadata({source->get(), ""}, copy, status, dialect_.prefix.c_str());
  if (done.ok() && ::renameat2(work_.fd(), made.c_str(), target->get(), directory.name.c_str(), RENAME_NOREPLACE) != 0) {
    done = errno_error("cannot copy up the directory {}", directory.name);
  }
  if (!done.ok()) {
    work_.discard(made);
    return done;
  }
  (void)set_times({target->get(), ""}, parent_status);
  mark_impure(parent, target->get());
  if (::fstatat(target->get(), directory.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot stat the copied directory {}", directory.name);
  }
  {
    const DirectoryLock own(directory.directory->lock);
    auto& branches = directory.directory->branches;
    branches.insert(branches.begin(), kUpper);
    directory.directory->merged = true;
    directory.directory->impure = Known::unknown;
    directory.branch.store(kUpper, std::memory_order_release);
  }
  table_.rekey(directory, branches_.key(kUpper, status.st_ino));
  note_put_locked(parent, directory.name, directory);
  return {};
}

Status UnionFs::copy_up(Node& node, CopyUp what, off_t truncate_to) {
  if (node.is_directory()) {
    const SharedTree tree(tree_);
    return ensure_upper(node);
  }
  if (node.is_upper() && (what == CopyUp::metadata || !node.metacopy.load(std::memory_order_acquire))) {
    return {};
  }
  if (!branches_.has_upper()) {
    return answer(EROFS);
  }
  const std::lock_guard copying(node.more().copying);
  if (node.is_upper()) {
    if (what == CopyUp::metadata || !node.metacopy.load()) {
      return {};
    }
    return complete_metacopy(node, what == CopyUp::truncated ? truncate_to : -1);
  }
  return node.type == DT_REG ? copy_up_regular(node, what, truncate_to) : copy_up_other(node);
}

Result<UnionFs::Source> UnionFs::open_source(Node& node) {
  const SharedTree tree(tree_);
  if (node.pin() == nullptr) {
    SBENCH_TRY(ensure_upper(*node.parent));
  }
  SBENCH_TRY_SET(const Reach at, reach(node));
  Source source;
  source.branch = at.place.branch;
  if (*at.place.name != '\0') {
    const std::string directory = lower_path(*node.parent, source.branch);
    source.path = directory.empty() ? node.name : directory + "/" + node.name;
    const std::string redirect = redirect_path(*node.parent);
    source.redirect = redirect.empty() ? node.name : redirect + "/" + node.name;
    source.fd = Fd(node.type == DT_REG
                       ? ::openat(at.place.fd(), at.place.name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC)
                       : ::openat(at.place.fd(), at.place.name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  } else {
    source.fd = Fd(node.type == DT_REG ? ::open(ProcPath(at.place.fd(), "").c_str(), O_RDONLY | O_CLOEXEC)
                                       : ::fcntl(at.place.fd(), F_DUPFD_CLOEXEC, 0));
  }
  if (!source.fd.valid() || ::fstat(source.fd.get(), &source.status) != 0) {
    return errno_error("cannot open {} to copy it up", node.name);
  }
  return source;
}

Status UnionFs::set_metacopy(Node& node, const Source& source, const Fd& copy) {
  if (source.status.st_size > 0 && ::ftruncate(copy.get(), source.status.st_size) != 0) {
    return errno_error("cannot size the copy");
  }
  int code = union_fs::set_xattr(copy.get(), "", dialect_.metacopy.c_str(), "");
  if (code == 0) {
    code = union_fs::set_xattr(copy.get(), "", dialect_.redirect.c_str(), "/" + source.redirect);
  }
  if (code != 0) {
    return make_error(code, "cannot mark the copy of {}", node.name);
  }
  return {};
}

Status UnionFs::copy_up_regular(Node& node, CopyUp what, off_t truncate_to) {
  SBENCH_TRY_SET(const Source source, open_source(node));
  const bool data_elsewhere = node.metacopy.load();
  const bool write_out = options_.sync != UnionSync::none;
  const bool metacopy = what == CopyUp::metadata && options_.metacopy && source.status.st_size > 0 &&
                        !source.path.empty();
  std::string made;
  SBENCH_TRY_SET(const Fd copy, work_.make_file(made));
  const auto build = [&]() -> Status {
    if (metacopy) {
      SBENCH_TRY(set_metacopy(node, source, copy));
    } else if (source.status.st_size > 0) {
      const off_t size = what == CopyUp::truncated ? std::min(truncate_to, source.status.st_size) : source.status.st_size;
      if (data_elsewhere) {
        SBENCH_TRY_SET(const Fd data, open_below(node.more().data_branch, node.more().data_path,
                                                 O_RDONLY | O_NOFOLLOW | O_NOATIME));
        SBENCH_TRY(copy_data(data.get(), copy.get(), source.status.st_size, size, write_out));
      } else {
        SBENCH_TRY(copy_data(source.fd.get(), copy.get(), source.status.st_size, size, write_out));
      }
    }
    set_origin({source.fd.get(), ""}, source.branch, {copy.get(), ""});
    SBENCH_TRY(copy_metadata({source.fd.get(), ""}, {copy.get(), ""}, source.status, dialect_.prefix.c_str()));
    return !metacopy && options_.sync == UnionSync::copy_up ? settle_before_name(copy.get()) : Status();
  };
  Status done = build();
  if (done.ok()) {
    const SharedTree tree(tree_);
    if (metacopy && !data_elsewhere) {
      node.more().data_branch = source.branch;
      node.more().data_path = source.path;
    }
    if (metacopy) {
      node.metacopy.store(true, std::memory_order_release);
    }
    done = place_copy(node, copy, made, source);
    if (done.ok() ? !metacopy : metacopy && !data_elsewhere) {
      node.metacopy.store(false, std::memory_order_release);
    }
  }
  if (!done.ok() && !made.empty()) {
    work_.discard(made);
  }
  return done;
}

Status UnionFs::copy_up_other(Node& node) {
  SBENCH_TRY_SET(const Source source, open_source(node));
  const std::string made = work_.fresh_name();
  const auto build = [&]() -> Result<Fd> {
    if (node.type == DT_LNK) {
      char target[4097];
      const ssize_t size = ::readlinkat(source.fd.get(), "", target, sizeof target - 1);
      if (size < 0) {
        return errno_error("cannot read the link {}", node.name);
      }
      target[size] = '\0';
      if (::symlinkat(target, work_.fd(), made.c_str()) != 0) {
        return errno_error("cannot copy the link {}", node.name);
      }
    } else if (::mknodat(work_.fd(), made.c_str(), (source.status.st_mode & S_IFMT) | 0600, source.status.st_rdev) != 0) {
      return errno_error("cannot copy {}", node.name);
    }
    const FileAt copy{work_.fd(), made.c_str()};
    set_origin({source.fd.get(), ""}, source.branch, copy);
    SBENCH_TRY(copy_metadata({source.fd.get(), ""}, copy, source.status, dialect_.prefix.c_str()));
    Fd fd(::openat(work_.fd(), made.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) {
      return errno_error("cannot open the copy of {}", node.name);
    }
    return fd;
  };
  auto copy = build();
  Status done = copy.ok() ? Status() : Status(copy.error());
  if (done.ok()) {
    const SharedTree tree(tree_);
    done = place_copy(node, copy.value(), made, source);
  }
  if (!done.ok()) {
    work_.discard(made);
  }
  return done;
}

Status UnionFs::place_copy(Node& node, const Fd& copy, const std::string& made_name, const Source& source) {
  struct stat status {};
  if (::fstat(copy.get(), &status) != 0) {
    return errno_error("cannot stat the copy of {}", node.name);
  }
  const DirectoryLock lock(node.parent->directory->lock);
  if (source.status.st_nlink > 1 && !node.gone.load()) {
    return place_linked_copy_locked(node, copy, made_name, source, status.st_ino);
  }
  if (node.pin() != nullptr) {  // its name was removed: the copy lives on without one
    Fd pinned(::fcntl(copy.get(), F_DUPFD_CLOEXEC, 0));
    if (!pinned.valid()) {
      return errno_error("cannot keep the copy of {}", node.name);
    }
    if (!made_name.empty()) {
      ::unlinkat(work_.fd(), made_name.c_str(), 0);
    }
    NodeExtra& extra = node.more();
    const std::lock_guard guard(extra.lock);
    extra.pin = std::make_shared<const Fd>(std::move(pinned));
    node.branch.store(kUpper, std::memory_order_release);
    table_.detach(node);
    return {};
  }
  SBENCH_TRY(place_at_name_locked(node, copy.get(), "", &copy, made_name));
  node.branch.store(kUpper, std::memory_order_release);
  table_.rekey(node, branches_.key(kUpper, status.st_ino));
  note_put_locked(*node.parent, node.name, node);
  return {};
}

// The copy, or (without `copy`) a link to (source, source_name), gets the node's name; the directory's times stay.
Status UnionFs::place_at_name_locked(Node& node, int source, const char* source_name, const Fd* copy,
                                     const std::string& made_name) {
  SBENCH_TRY_SET(const FdLease target, upper_fd(*node.parent));
  struct stat parent_status {};
  if (::fstat(target->get(), &parent_status) != 0) {
    return errno_error("cannot stat a directory");
  }
  int code = 0;
  if (copy != nullptr) {
    code = work_.place(*copy, made_name, target->get(), node.name.c_str());
  } else if (::linkat(source, source_name, target->get(), node.name.c_str(), 0) != 0) {
    code = errno;
  }
  if (code != 0) {
    return make_error(code, "cannot give the copy of {} its name", node.name);
  }
  (void)set_times({target->get(), ""}, parent_status);
  mark_impure(*node.parent, target->get());
  return {};
}

// The hidden link comes first: from then on all lower names mean the copy.
Status UnionFs::place_linked_copy_locked(Node& node, const Fd& copy, const std::string& made_name,
                                         const Source& source, ino_t inode) {
  const std::string link = PseudoLinks::name_of(node.inode);
  const int folder = pseudo_links_.folder()->get();
  if (const int code = work_.place(copy, made_name, folder, link.c_str()); code != 0) {
    return make_error(code, "cannot make the pseudo-link of {}", node.name);
  }
  const bool named = node.pin() == nullptr;
  const auto guard = pseudo_links_.hold();
  pseudo_links_.add(node.inode, inode, static_cast<std::int64_t>(source.status.st_nlink) - (named ? 1 : 0));
  node.branch.store(kUpper, std::memory_order_release);
  node.linked.store(true, std::memory_order_release);
  table_.rekey(node, branches_.key(kUpper, inode));
  if (!named) {
    return {};
  }
  SBENCH_TRY(place_at_name_locked(node, folder, link.c_str(), nullptr, {}));
  note_put_locked(*node.parent, node.name, node);
  return {};
}

Status UnionFs::link_up(Node& parent, const std::string& name, Node& node) {
  SBENCH_TRY(ensure_upper(parent));
  const DirectoryLock lock(parent.directory->lock);
  SBENCH_TRY_SET(const NameState state, probe_locked(parent, name, false));
  if (!state.found || state.found->branch == kUpper || !node.linked.load()) {
    return {};  // another thread was first
  }
  SBENCH_TRY_SET(const FdLease target, upper_fd(parent));
  struct stat parent_status {};
  if (::fstat(target->get(), &parent_status) != 0 ||
      ::linkat(pseudo_links_.folder()->get(), PseudoLinks::name_of(node.inode).c_str(), target->get(), name.c_str(), 0) != 0) {
    return errno_error("cannot link {} to its copy", name);
  }
  (void)set_times({target->get(), ""}, parent_status);
  mark_impure(parent, target->get());
  pseudo_links_.take_lower_name(node.inode);
  note_put_locked(parent, name, node);
  return {};
}

void UnionFs::resolve_pseudo_links() {
  if (pseudo_links_.none()) {
    return;
  }
  const auto inodes = pseudo_links_.all();
  bool complete = true;
  // Depth first; a directory is held while its children are visited.
  const auto visit = [&](const auto& self, NodeId directory) -> void {
    struct Child {
      std::string name;
      bool is_directory;
    };
    std::vector<Child> children;
    auto handle = open_directory(directory);
    const Status read = !handle.ok() ? Status(handle.error())
                                     : read_directory(directory, *handle, 0, [&](const DirectoryEntry& entry) {
      if (is_dot(entry.name)) {
        return true;
      }
      if (entry.type == DT_DIR) {
        children.push_back({std::string(entry.name), true});
      } else if (std::binary_search(inodes.begin(), inodes.end(), entry.inode)) {
        children.push_back({std::string(entry.name), false});
      }
      return true;
    });
    if (handle.ok()) {
      release_directory(directory, *handle);
    }
    complete = complete && read.ok();
    for (const Child& child : children) {
      auto entry = lookup(directory, child.name);
      if (!entry.ok()) {
        complete = false;
        continue;
      }
      if (child.is_directory) {
        self(self, entry->node);
      } else if (Node& node = node_of(entry->node); node.linked.load()) {
        const SharedTree tree(tree_);
        complete = link_up(node_of(directory), child.name, node).ok() && complete;
      }
      forget(entry->node, 1);
    }
  };
  visit(visit, kRootNode);
  if (complete) {
    for (const std::uint64_t inode : inodes) {
      pseudo_links_.remove(inode);
    }
  }
}

Status UnionFs::complete_metacopy(Node& node, off_t size) {
  Fd target;
  Fd data;
  {
    const SharedTree tree(tree_);
    SBENCH_TRY_SET(const Reach at, reach(node));
    target = Fd(*at.place.name != '\0' ? ::openat(at.place.fd(), at.place.name, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
                                       : ::open(ProcPath(at.place.fd(), "").c_str(), O_RDWR | O_CLOEXEC));
    if (!target.valid()) {
      return errno_error("cannot open the copy of {}", node.name);
    }
    SBENCH_TRY_SET(data, open_below(node.more().data_branch, node.more().data_path, O_RDONLY | O_NOFOLLOW | O_NOATIME));
  }
  struct stat status {};
  struct stat data_status {};
  if (::fstat(target.get(), &status) != 0 || ::fstat(data.get(), &data_status) != 0) {
    return errno_error("cannot stat {}", node.name);
  }
  const off_t wanted = size < 0 ? status.st_size : std::min(size, status.st_size);
  SBENCH_TRY(copy_data(data.get(), target.get(), data_status.st_size, std::min(wanted, data_status.st_size),
                       options_.sync != UnionSync::none));
  if (wanted == 0 && ::ftruncate(target.get(), 0) != 0) {
    return errno_error("cannot size the copy of {}", node.name);
  }
  if (const int code = set_times({target.get(), ""}, status); code != 0) {
    return make_error(code, "cannot set the times of {}", node.name);
  }
  if (options_.sync == UnionSync::copy_up) {
    SBENCH_TRY(settle_before_name(target.get()));
  }
  if (const int code = union_fs::remove_xattr(target.get(), "", dialect_.metacopy.c_str()); code != 0) {
    return make_error(code, "cannot unmark the copy of {}", node.name);
  }
  (void)union_fs::remove_xattr(target.get(), "", dialect_.redirect.c_str());
  node.metacopy.store(false, std::memory_order_release);
  return {};
}

}  // namespace sbench::union_fs
