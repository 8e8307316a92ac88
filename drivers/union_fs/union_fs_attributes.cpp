// union_fs_attributes.cpp: attributes, extended attributes and ACLs, link targets.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

bool has(unsigned mask, AttributeMask bit) { return (mask & static_cast<unsigned>(bit)) != 0; }

constexpr const char* kCapability = "security.capability";

}  // namespace

Result<struct stat> UnionFs::attributes(NodeId id, HandleId handle_id) {
  Node& node = node_of(id);
  if (handle_id != 0 && !node.is_directory() && !node.metacopy.load(std::memory_order_acquire)) {
    struct stat status {};
    if (::fstat(data_fd(node, *reinterpret_cast<OpenHandle*>(handle_id)), &status) != 0) {
      return answer();
    }
    return shown(node, status);
  }
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const struct stat status, stat_node(node));
  return shown(node, status);
}

Status UnionFs::apply_attributes(Place& place, unsigned mask, const struct stat& wanted) {
  const int fd = place.fd();
  const ProcPath path(fd, place.name);
  struct stat now {};
  if (::fstatat(fd, place.name, &now, place.flags()) != 0) {
    return answer();
  }
  if (has(mask, AttributeMask::size) && ::truncate(path.c_str(), wanted.st_size) != 0) {
    return answer();
  }
  if (has(mask, AttributeMask::uid) || has(mask, AttributeMask::gid)) {
    const uid_t uid = has(mask, AttributeMask::uid) ? wanted.st_uid : static_cast<uid_t>(-1);
    const gid_t gid = has(mask, AttributeMask::gid) ? wanted.st_gid : static_cast<gid_t>(-1);
    if (::fchownat(fd, place.name, uid, gid, place.flags()) != 0) {
      return answer();
    }
  }
  if (has(mask, AttributeMask::mode)) {
    if (S_ISLNK(now.st_mode)) {
      return answer(EOPNOTSUPP);
    }
    if (::chmod(path.c_str(), wanted.st_mode & 07777) != 0) {
      return answer();
    }
  } else if (has(mask, AttributeMask::drop_privileges) && S_ISREG(now.st_mode)) {
    const mode_t dropped = S_ISUID | ((now.st_mode & S_IXGRP) != 0 ? S_ISGID : 0);
    if ((now.st_mode & dropped) != 0 && ::chmod(path.c_str(), now.st_mode & 07777 & ~dropped) != 0) {
      return answer();
    }
    (void)union_fs::remove_xattr(fd, place.name, kCapability);
  }
  timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  if (has(mask, AttributeMask::atime_now)) {
    times[0].tv_nsec = UTIME_NOW;
  } else if (has(mask, AttributeMask::atime)) {
    times[0] = wanted.st_atim;
  }
  if (has(mask, AttributeMask::mtime_now)) {
    times[1].tv_nsec = UTIME_NOW;
  } else if (has(mask, AttributeMask::mtime)) {
    times[1] = wanted.st_mtim;
  }
  if (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) {
    const int result = *place.name == '\0' ? ::utimensat(AT_FDCWD, path.c_str(), times, 0)
                                           : ::utimensat(fd, place.name, times, AT_SYMLINK_NOFOLLOW);
    if (result != 0) {
      return answer();
    }
  }
  return {};
}

Result<struct stat> UnionFs::set_attributes(NodeId id, HandleId, unsigned mask, const struct stat& wanted) {
  Node& node = node_of(id);
  const bool sized = has(mask, AttributeMask::size);
  if (sized && node.type != DT_REG) {
    return answer(node.is_directory() ? EISDIR : EINVAL);
  }
  if (sized && wanted.st_size < 0) {
    return answer(EINVAL);
  }
  SBENCH_TRY(copy_up(node, sized ? CopyUp::truncated : CopyUp::metadata, sized ? wanted.st_size : 0));
  const SharedTree tree(tree_);
  {
    SBENCH_TRY_SET(Reach at, reach(node));
    SBENCH_TRY(apply_attributes(at.place, mask, wanted));
  }
  if (node.is_directory()) {
    node.directory->set_group_id = Known::unknown;
  }
  SBENCH_TRY_SET(const struct stat status, stat_node(node));
  return shown(node, status);
}

Result<std::string> UnionFs::read_link(NodeId id) {
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node_of(id)));
  char target[4096];
  const ssize_t size = ::readlinkat(at.place.fd(), at.place.name, target, sizeof target);
  if (size < 0) {
    return answer();
  }
  return std::string(target, static_cast<std::size_t>(size));
}

Result<std::string> UnionFs::xattr(NodeId id, const char* name) {
  if (dialect_.own_xattr(name)) {
    return answer(ENODATA);
  }
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node_of(id)));
  std::string value;
  if (const int code = get_xattr(at.place.fd(), at.place.name, name, value); code != 0) {
    return answer(code);
  }
  return value;
}

Result<std::string> UnionFs::xattr_names(NodeId id) {
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node_of(id)));
  std::string names;
  if (const int code = list_xattrs(at.place.fd(), at.place.name, names); code != 0) {
    return answer(code);
  }
  std::string visible;
  for_each_name(names, [&](const char* name) {
    if (!dialect_.own_xattr(name)) {
      visible.append(name).push_back('\0');
    }
  });
  return visible;
}

Status UnionFs::set_xattr(NodeId id, const char* name, std::string_view value, int flags) {
  if (dialect_.own_xattr(name)) {
    return answer(EOPNOTSUPP);
  }
  Node& node = node_of(id);
  SBENCH_TRY(copy_up(node, CopyUp::metadata));
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node));
  if (node.is_directory()) {
    node.directory->default_acl = Known::unknown;
    node.directory->set_group_id = Known::unknown;
  }
  const int code = union_fs::set_xattr(at.place.fd(), at.place.name, name, value, flags);
  return code == 0 ? Status() : Status(answer(code));
}

Status UnionFs::remove_xattr(NodeId id, const char* name) {
  if (dialect_.own_xattr(name)) {
    return answer(ENODATA);
  }
  Node& node = node_of(id);
  if (!node.is_upper()) {
    SBENCH_TRY(xattr(id, name));  // what is not there needs no copy to be removed from
  }
  SBENCH_TRY(copy_up(node, CopyUp::metadata));
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node));
  if (node.is_directory()) {
    node.directory->default_acl = Known::unknown;
  }
  const int code = union_fs::remove_xattr(at.place.fd(), at.place.name, name);
  return code == 0 ? Status() : Status(answer(code));
}

}  // namespace sbench::union_fs
