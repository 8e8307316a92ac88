// union_fs_make.cpp: new files, directories, links and devices in the writable branch.
//
// The branch's own file system applies set-group-id directories and default
// ACLs; owner and umask are applied here. A name that a whiteout covers gets its
// new file from the work area in one step, so a crash shows the old state or the new.
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

constexpr const char* kDefaultAcl = "system.posix_acl_default";

}  // namespace

Status UnionFs::check_new_name(std::string_view name) const {
  if (name.size() > dialect_.name_max()) {
    return answer(ENAMETOOLONG);
  }
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos) {
    return answer(EINVAL);
  }
  if (dialect_.reserved(name)) {
    return answer(EPERM);
  }
  return branches_.has_upper() ? Status() : Status(answer(EROFS));
}

Known UnionFs::known_set_group_id(Node& parent, int fd) {
  Known known = parent.directory->set_group_id.load(std::memory_order_relaxed);
  if (known == Known::unknown) {
    struct stat status {};
    known = ::fstat(fd, &status) == 0 && (status.st_mode & S_ISGID) != 0 ? Known::yes : Known::no;
    parent.directory->set_group_id.store(known, std::memory_order_relaxed);
  }
  return known;
}

Known UnionFs::known_default_acl(Node& parent, int fd) {
  Known known = parent.directory->default_acl.load(std::memory_order_relaxed);
  if (known == Known::unknown) {
    std::string value;
    known = get_xattr(fd, "", kDefaultAcl, value) == 0 ? Known::yes : Known::no;
    parent.directory->default_acl.store(known, std::memory_order_relaxed);
  }
  return known;
}

Result<struct stat> UnionFs::make_at(const Caller& caller, Node& parent, int parent_fd, int fd, const char* name,
                                     const Fresh& fresh, Fd* opened) {
  const bool group_of_parent = known_set_group_id(parent, parent_fd) == Known::yes;
  const bool acl = known_default_acl(parent, parent_fd) == Known::yes;
  const mode_t type = fresh.mode & S_IFMT;
  const mode_t mode = (fresh.mode & 07777) & (acl ? ~mode_t{0} : ~(caller.umask & 0777));
  Fd file;
  int failed = 0;
  if (type == S_IFREG) {
    const int extra = fresh.open_flags < 0 ? 0 : fresh.open_flags & (O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME);
    file = Fd(::openat(fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | extra, mode));
    failed = file.valid() ? 0 : errno;
  } else if (type == S_IFDIR) {
    failed = ::mkdirat(fd, name, mode) == 0 ? 0 : errno;
  } else if (type == S_IFLNK) {
    failed = ::symlinkat(std::string(fresh.target).c_str(), fd, name) == 0 ? 0 : errno;
  } else {
    failed = ::mknodat(fd, name, type | mode, fresh.device) == 0 ? 0 : errno;
  }
  if (failed != 0) {
    return answer(failed);
  }
  const auto finish = [&]() -> Result<struct stat> {
    const auto stat_it = [&](struct stat& status) {
      return file.valid() ? ::fstat(file.get(), &status) : ::fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW);
    };
    struct stat status {};
    if (stat_it(status) != 0) {
      return answer();
    }
    bool changed = false;
    const gid_t group = group_of_parent ? status.st_gid : caller.gid;
    if (status.st_uid != caller.uid || status.st_gid != group) {
      if (::fchownat(fd, name, caller.uid, group, AT_SYMLINK_NOFOLLOW) != 0) {
        return answer();
      }
      changed = true;
    }
    if (type != S_IFLNK) {
      mode_t wanted = acl ? status.st_mode & 07777 : mode;
      if (type == S_IFDIR) {
        wanted = (wanted & 01777) | (group_of_parent ? S_ISGID : 0);
      }
      if ((status.st_mode & 07777) != wanted || (changed && (wanted & (S_ISUID | S_ISGID)) != 0)) {
        if (::fchmodat(fd, name, wanted, 0) != 0) {
          return answer();
        }
        changed = true;
      }
    }
    if (changed && stat_it(status) != 0) {
      return answer();
    }
    return status;
  };
  auto status = finish();
  if (!status.ok()) {
    ::unlinkat(fd, name, type == S_IFDIR ? AT_REMOVEDIR : 0);
  } else if (opened != nullptr) {
    *opened = std::move(file);
  }
  return status;
}

// The whiteout at `name` gives way to a file made in the work area; a folder there passes on what the
// parent's set-group-id bit and default ACL would have.
Result<struct stat> UnionFs::make_over_whiteout(const Caller& caller, Node& parent, int parent_fd,
                                                const std::string& name, const Fresh& fresh, Fd* opened) {
  const std::string folder = work_.fresh_name();
  struct stat parent_status {};
  if (::mkdirat(work_.fd(), folder.c_str(), 0700) != 0 || ::fstat(parent_fd, &parent_status) != 0) {
    return errno_error("cannot use the work folder");
  }
  const auto build = [&]() -> Result<struct stat> {
    const Fd inside(::openat(work_.fd(), folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    std::string acl;
    if (!inside.valid() || ::fchown(inside.get(), parent_status.st_uid, parent_status.st_gid) != 0 ||
        ::fchmod(inside.get(), parent_status.st_mode & 07777) != 0) {
      return errno_error("cannot use the work folder");
    }
    if (get_xattr(parent_fd, "", kDefaultAcl, acl) == 0) {
      if (const int code = union_fs::set_xattr(inside.get(), "", kDefaultAcl, acl); code != 0) {
        return make_error(code, "cannot pass on the default ACL");
      }
    }
    SBENCH_TRY_SET(struct stat status, make_at(caller, parent, parent_fd, inside.get(), "new", fresh, opened));
    const bool directory = S_ISDIR(fresh.mode);
    if (directory) {
      const int code = dialect_.aufs ? work_.link_base_file(inside.get(), fmt::format("new/{}", kOpaqueName).c_str())
                                     : union_fs::set_xattr(inside.get(), "new", dialect_.opaque.c_str(), "y");
      if (code != 0) {
        return make_error(code, "cannot make {} opaque", name);
      }
    }
    if (dialect_.aufs) {
      if (::renameat2(inside.get(), "new", parent_fd, name.c_str(), RENAME_NOREPLACE) != 0) {
        return answer();
      }
      ::unlinkat(parent_fd, whiteout_of(name).c_str(), 0);
    } else if (::renameat2(inside.get(), "new", parent_fd, name.c_str(), directory ? RENAME_EXCHANGE : 0) != 0) {
      return answer();
    }
    if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return answer();
    }
    return status;
  };
  auto made = build();
  work_.discard(folder);
  return made;
}

Result<std::pair<Node*, struct stat>> UnionFs::make(const Caller& caller, Node& parent, std::string_view name_view,
                                                    const Fresh& fresh, Fd* opened) {
  SBENCH_TRY(check_new_name(name_view));
  const std::string name(name_view);
  if (!parent.is_directory()) {
    return answer(ENOTDIR);
  }
  const SharedTree tree(tree_);
  SBENCH_TRY(ensure_upper(parent));
  const DirectoryLock lock(parent.directory->lock);
  if (parent.directory->dead.load()) {
    return answer(ENOENT);
  }
  SBENCH_TRY_SET(const FdLease fd, upper_fd(parent));
  NameState state;
  if (parent.directory->merged.load()) {
    if (wants_index(parent)) {
      SBENCH_TRY(build_index_locked(parent));
    }
    SBENCH_TRY_SET(state, probe_locked(parent, name, false));
    if (state.found) {
      return answer(EEXIST);
    }
  }
  struct stat status {};
  if (!state.upper_whiteout) {
    auto made = make_at(caller, parent, fd->get(), fd->get(), name.c_str(), fresh, opened);
    if (made.ok()) {
      status = made.value();
    } else if (made.error().code == EEXIST && !dialect_.aufs &&
               ::fstatat(fd->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && is_overlay_whiteout(status)) {
      state.upper_whiteout = true;  // one that hides nothing
    } else {
      return made.error();
    }
  }
  if (state.upper_whiteout) {
    SBENCH_TRY_SET(status, make_over_whiteout(caller, parent, fd->get(), name, fresh, opened));
  }
  auto node = std::make_unique<Node>();
  node->name = name;
  node->holds = 1;
  node->key = branches_.key(kUpper, status.st_ino);
  node->inode = branches_.shown(kUpper, status.st_ino);
  node->generation = generations_.fetch_add(1, std::memory_order_relaxed);
  node->type = static_cast<unsigned char>(IFTODT(status.st_mode));
  if (S_ISDIR(status.st_mode)) {
    node->directory = std::make_unique<DirectoryState>();
    node->directory->branches.push_back(kUpper);
    node->directory->impure = Known::no;
  }
  node->parent = &parent;
  NodeTable::hold(parent);
  Node* made = table_.put(std::move(node));
  note_put_locked(parent, name, *made);
  return std::pair(made, status);
}

Result<Entry> UnionFs::make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                                 dev_t device) {
  Fresh fresh{mode, device, {}, -1};
  if ((mode & S_IFMT) == 0) {
    fresh.mode |= S_IFREG;
  }
  if (S_ISDIR(mode) || S_ISLNK(mode)) {
    return answer(EINVAL);
  }
  if (!dialect_.aufs && S_ISCHR(mode) && device == 0) {
    return answer(EPERM);  // it would be a whiteout
  }
  SBENCH_TRY_SET(const auto made, make(caller, node_of(parent), name, fresh, nullptr));
  return entry_of(*made.first, made.second);
}

Result<Entry> UnionFs::make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) {
  SBENCH_TRY_SET(const auto made,
                 make(caller, node_of(parent), name, Fresh{(mode & 01777) | S_IFDIR, 0, {}, -1}, nullptr));
  return entry_of(*made.first, made.second);
}

Result<Entry> UnionFs::make_symlink(const Caller& caller, NodeId parent, std::string_view name,
                                    std::string_view target) {
  SBENCH_TRY_SET(const auto made, make(caller, node_of(parent), name, Fresh{S_IFLNK | 0777, 0, target, -1}, nullptr));
  return entry_of(*made.first, made.second);
}

Result<FileSystem::Created> UnionFs::create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                                            int flags) {
  Fd opened;
  SBENCH_TRY_SET(const auto made,
                 make(caller, node_of(parent), name, Fresh{(mode & 07777) | S_IFREG, 0, {}, flags}, &opened));
  SBENCH_TRY_SET(Entry entry, entry_of(*made.first, made.second));
  return Created{entry, handle_for(*made.first, std::move(opened), flags, true, made.second.st_ino)};
}

Result<Entry> UnionFs::make_link(NodeId id, NodeId parent_id, std::string_view name_view) {
  SBENCH_TRY(check_new_name(name_view));
  const std::string name(name_view);
  Node& node = node_of(id);
  Node& parent = node_of(parent_id);
  if (node.is_directory()) {
    return answer(EPERM);
  }
  if (!parent.is_directory()) {
    return answer(ENOTDIR);
  }
  SBENCH_TRY(copy_up(node, CopyUp::metadata));
  {
    const SharedTree tree(tree_);
    SBENCH_TRY(ensure_upper(parent));
  }
  const std::unique_lock tree(tree_);  // two directories are involved
  SBENCH_TRY_SET(const NameState state, probe_locked(parent, name, false));
  if (state.found) {
    return answer(EEXIST);
  }
  if (node.gone.load()) {
    return answer(ENOENT);
  }
  struct stat status {};
  SBENCH_TRY_SET(const FdLease target, upper_fd(parent));
  {
    SBENCH_TRY_SET(const Reach at, reach(node));
    const int link_flags = *at.place.name == '\0' ? AT_EMPTY_PATH : 0;
    if (state.upper_whiteout && !dialect_.aufs) {
      const std::string made = work_.fresh_name();
      if (::linkat(at.place.fd(), at.place.name, work_.fd(), made.c_str(), link_flags) != 0 ||
          ::renameat(work_.fd(), made.c_str(), target->get(), name.c_str()) != 0) {
        return answer();
      }
    } else if (::linkat(at.place.fd(), at.place.name, target->get(), name.c_str(), link_flags) != 0) {
      return answer();
    }
    if (state.upper_whiteout && dialect_.aufs) {
      ::unlinkat(target->get(), whiteout_of(name).c_str(), 0);
    }
    if (::fstatat(target->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return answer();
    }
  }
  if (node.inode != branches_.shown(kUpper, status.st_ino)) {
    mark_impure(parent, target->get());
  }
  note_put_locked(parent, name, node);
  NodeTable::hold(node);
  return entry_of(node, status);
}

}  // namespace sbench::union_fs
