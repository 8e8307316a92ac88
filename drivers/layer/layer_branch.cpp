#include "drivers/layer/layer_branch.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cstring>
#include <functional>

#include "drivers/base/file.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

constexpr const char* kDefaultAcl = "system.posix_acl_default";

std::string key_of(const struct stat& directory, std::string_view name) {
  std::string key(sizeof directory.st_dev + sizeof directory.st_ino, '\0');
  std::memcpy(key.data(), &directory.st_dev, sizeof directory.st_dev);
  std::memcpy(key.data() + sizeof directory.st_dev, &directory.st_ino, sizeof directory.st_ino);
  return key.append(name);
}

Result<struct stat> status_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return errno_error("cannot inspect {}", path);
  }
  return status;
}

/// Whether the file `name` of a directory that looks like `status` is to stay.
using Keep = std::function<bool(const struct stat& directory, const std::string& name)>;

Result<Fd> open_child(int parent, const std::string& name, const std::string& path) {
  Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot open the directory {}", path);
  }
  return fd;
}

/// Removes what is below `directory` except what is to stay and what that needs as parents.
Status prune_below(int directory, const std::string& path, const Keep& keep) {
  std::vector<std::string> emptied;
  std::string current = "/";  // the directory that `status` is of: none yet
  struct stat status {};
  SBENCH_TRY(walk_tree_at(directory, path, [&](const Visited& file) -> Result<WalkStep> {
    if (file.path == ".") {
      return WalkStep::enter;
    }
    const std::string_view above = std::string_view(file.path).substr(0, file.path.size() - file.name.size());
    if (above != current) {
      current = above;
      SBENCH_TRY_SET(status, status_of(file.directory_fd, path));
    }
    if (keep(status, file.name)) {
      return WalkStep::enter;
    }
    if (file.is_directory()) {
      emptied.push_back(file.path);
    } else if (::unlinkat(file.directory_fd, file.name.c_str(), 0) != 0) {
      return errno_error("cannot remove {} below {}", file.path, path);
    }
    return WalkStep::enter;
  }));
  for (auto child = emptied.rbegin(); child != emptied.rend(); ++child) {
    const auto slash = child->rfind('/');
    Fd above;
    if (slash != std::string::npos) {  // not by its whole path: what was a directory there may be a link by now
      SBENCH_TRY_SET(above, open_directory(directory, child->substr(0, slash)));
    }
    const char* const name = child->c_str() + (slash == std::string::npos ? 0 : slash + 1);
    if (::unlinkat(above.valid() ? above.get() : directory, name, AT_REMOVEDIR) != 0 && errno != ENOTEMPTY && errno != EEXIST) {
      return errno_error("cannot remove {} below {}", *child, path);
    }
  }
  return {};
}

/// prune_below() for `name`, which goes too unless it, or something below it, is to stay. Returns whether it stayed.
Result<bool> prune(int parent, const std::string& name, const std::string& path, const Keep& keep) {
  struct stat status {};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) {
      return false;
    }
    return errno_error("cannot inspect {}", path);
  }
  SBENCH_TRY_SET(const struct stat parent_status, status_of(parent, path));
  const bool kept = keep(parent_status, name);
  if (!S_ISDIR(status.st_mode)) {
    if (!kept && ::unlinkat(parent, name.c_str(), 0) != 0) {
      return errno_error("cannot remove {}", path);
    }
    return kept;
  }
  {
    SBENCH_TRY_SET(const Fd directory, open_child(parent, name, path));
    SBENCH_TRY(prune_below(directory.get(), path, keep));
  }
  if (kept || ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) {
    return kept;
  }
  if (errno != ENOTEMPTY && errno != EEXIST) {
    return errno_error("cannot remove {}", path);
  }
  return true;
}

}  // namespace

Result<int> LayerBranch::open_parent(std::string_view path) {
  SBENCH_TRY(enter(path, false));
  return parent_.fd.get();
}

/// Opens `path` as the current parent. False when it does not exist and need not: a whiteout below
/// what is deleted or, in a merged tree, missing.
Result<bool> LayerBranch::enter(std::string_view path, bool for_whiteout) {
  if (parent_.fd.valid() && parent_.path == path) {
    return true;
  }
  Parent next;
  next.path = path;
  auto opened = root_.open_directory(next.path);
  if (!opened.ok()) {
    const int code = opened.error().code;
    const bool missing = code == ENOENT || code == ENOTDIR;
    if (missing && for_whiteout && style_ == WhiteoutStyle::erase) {
      return false;
    }
    opened = missing ? make_parents(next.path, for_whiteout) : std::move(opened);
    if (opened.ok() && !opened->valid()) {
      return false;
    }
  }
  SBENCH_TRY_SET(next.fd, std::move(opened));
  SBENCH_TRY_SET(next.status, status_of(next.fd.get(), next.path));
  next.has_default_acl = ::fgetxattr(next.fd.get(), kDefaultAcl, nullptr, 0) > 0;
  parent_ = std::move(next);
  return true;
}

/// Makes what is missing of `path`. With `for_whiteout`, an invalid descriptor says that a part of it is deleted.
Result<Fd> LayerBranch::make_parents(const std::string& path, bool for_whiteout) {
  Fd above;
  for (std::size_t end = 0; end != std::string::npos;) {
    const std::size_t start = end == 0 ? 0 : end + 1;
    end = path.find('/', start);
    const std::string prefix = path.substr(0, end);
    const std::string name = prefix.substr(start);
    auto opened = root_.open_directory(prefix);
    if (!opened.ok()) {
      if (opened.error().code != ENOENT && opened.error().code != ENOTDIR) {
        return opened.error();
      }
      const int parent = above.valid() ? above.get() : root_.fd();
      SBENCH_TRY_SET(const bool marked, has_mark(parent, name, prefix));
      if (marked && for_whiteout) {
        return Fd();
      }
      struct stat status {};
      if (!marked && ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        return plain_error(ENOTDIR, "cannot unpack below {}: it is no directory and leads to none", prefix);
      }
      SBENCH_TRY(make_directory(parent, name, prefix));
      SBENCH_TRY_SET(Fd made, open_child(parent, name, prefix));
      if (::fchmod(made.get(), 0755) != 0) {
        return errno_error("cannot set the mode of {}", prefix);
      }
      opened = std::move(made);
    }
    above = std::move(opened).value();
  }
  return above;
}

void LayerBranch::note_unpacked(const std::string& name) { unpacked_.insert(key_of(parent_.status, name)); }

bool LayerBranch::was_unpacked(const struct stat& directory, const std::string& name) const {
  return unpacked_.contains(key_of(directory, name));
}

Status LayerBranch::make_directory(int parent, const std::string& name, const std::string& path) {
  bool hides_lower = false;
  if (style_ == WhiteoutStyle::aufs) {
    SBENCH_TRY_SET(hides_lower, has_mark(parent, name, path));
  }
  if (::mkdirat(parent, name.c_str(), 0700) != 0) {
    if (errno != EEXIST) {
      return errno_error("cannot make the directory {}", path);
    }
    struct stat status {};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot inspect {}", path);
    }
    if (!S_ISDIR(status.st_mode)) {
      hides_lower = hides_lower || is_mark(status);
      SBENCH_TRY(remove(parent, name, path));
      if (::mkdirat(parent, name.c_str(), 0700) != 0) {
        return errno_error("cannot make the directory {}", path);
      }
    }
  }
  if (!hides_lower) {
    return {};
  }
  SBENCH_TRY(clear_mark(parent, name, path));
  SBENCH_TRY_SET(const Fd made, open_child(parent, name, path));
  return set_opaque(made.get(), path);
}

Status LayerBranch::remove(int parent, const std::string& name, const std::string& path) {
  if (::unlinkat(parent, name.c_str(), 0) == 0) {
    return {};
  }
  if (errno != EISDIR && errno != EPERM) {
    return errno_error("cannot remove {}", path);
  }
  parent_.path.clear();  // through links, its path may have led through what goes now
  const Keep nothing = [](const struct stat&, const std::string&) { return false; };
  SBENCH_TRY_SET(const bool left, prune(parent, name, path, nothing));
  return left ? Status(make_error(ENOTEMPTY, "cannot remove {}: somebody else fills it", path)) : Status();
}

bool LayerBranch::is_mark(const struct stat& status) const {
  return style_ == WhiteoutStyle::overlay && is_overlay_whiteout(status);
}

Result<bool> LayerBranch::has_mark(int parent, const std::string& name, const std::string& path) const {
  if (style_ == WhiteoutStyle::erase) {
    return false;
  }
  const std::string mark = style_ == WhiteoutStyle::aufs ? kWhiteoutPrefix + name : name;
  struct stat status {};
  if (::fstatat(parent, mark.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT || errno == ENAMETOOLONG) {
      return false;
    }
    return errno_error("cannot inspect {}", path);
  }
  return style_ == WhiteoutStyle::aufs || is_mark(status);
}

Status LayerBranch::clear_mark(int parent, const std::string& name, const std::string& path) {
  if (style_ != WhiteoutStyle::aufs) {
    return {};  // elsewhere a mark has the name itself, and went when that was made
  }
  if (::unlinkat(parent, (kWhiteoutPrefix + name).c_str(), 0) != 0 && errno != ENOENT && errno != ENAMETOOLONG) {
    return errno_error("cannot remove the whiteout of {}", path);
  }
  return {};
}

Status LayerBranch::put_mark(int parent, const std::string& name, const std::string& path) {
  if (style_ == WhiteoutStyle::aufs) {
    return make_aufs_mark(parent, kWhiteoutPrefix + name, path);
  }
  if (::mknodat(parent, name.c_str(), S_IFCHR, ::makedev(0, 0)) != 0) {
    return errno_error("cannot make the whiteout of {}", path);
  }
  return {};
}

Status LayerBranch::set_opaque(int directory, const std::string& path) {
  if (style_ == WhiteoutStyle::aufs) {
    return make_aufs_mark(directory, kOpaqueName, path);
  }
  if (::fsetxattr(directory, overlay_opaque_xattr(), "y", 1, 0) != 0) {
    return errno_error("cannot make the directory {} opaque", path);
  }
  return {};
}

Status LayerBranch::make_aufs_mark(int directory, const std::string& name, const std::string& path) {
  int code = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    code = ::linkat(root_.fd(), kAufsBaseName, directory, name.c_str(), 0) == 0 ? 0 : errno;
    if (code != ENOENT) {
      break;
    }
    const Fd base(::openat(root_.fd(), kAufsBaseName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
    if (!base.valid()) {
      return errno_error("cannot make {}", kAufsBaseName);
    }
  }
  if (code == EMLINK) {
    const Fd own(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
    code = own.valid() ? 0 : errno;
  }
  if (code != 0 && code != EEXIST) {
    return make_error(code, "cannot make the whiteout of {}", path);
  }
  return {};
}

Status LayerBranch::hide(const std::string& parent_path, const std::string& name) {
  SBENCH_TRY_SET(const bool there, enter(parent_path, true));
  if (!there) {
    return {};
  }
  const int parent = parent_.fd.get();
  const std::string path = join_path(parent_path, name);
  const Keep own = [this](const struct stat& directory, const std::string& child) {
    return was_unpacked(directory, child);
  };
  SBENCH_TRY_SET(const bool kept, prune(parent, name, path, own));
  parent_.path.clear();
  if (style_ == WhiteoutStyle::erase) {
    return {};
  }
  if (!kept) {
    return put_mark(parent, name, path);
  }
  struct stat status {};
  if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot inspect {}", path);
  }
  if (!S_ISDIR(status.st_mode)) {
    return {};
  }
  SBENCH_TRY_SET(const Fd directory, open_child(parent, name, path));
  return set_opaque(directory.get(), path);
}

Status LayerBranch::hide_all(const std::string& path) {
  if (path == "." && style_ == WhiteoutStyle::overlay) {
    return plain_error(ENOTSUP, "cannot unpack {}: an overlay layer cannot hide the whole root of its parent",
                       kOpaqueName);
  }
  SBENCH_TRY_SET(const bool there, enter(path, true));
  if (!there) {
    return {};
  }
  SBENCH_TRY(prune_below(parent_.fd.get(), path, [this](const struct stat& directory, const std::string& child) {
    const bool internal = style_ == WhiteoutStyle::aufs && whiteout_name(child) == WhiteoutName::internal;
    return internal || was_unpacked(directory, child);
  }));
  return style_ == WhiteoutStyle::erase ? Status() : set_opaque(parent_.fd.get(), path);
}

}  // namespace sbench
