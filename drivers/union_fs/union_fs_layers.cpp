// union_fs_layers.cpp: which branches have a name: branches opened, whiteouts, opaque marks and redirects followed.
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/union_fs/engine.h"
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
  if (state.upper_whiteout || (state.found && state.found->branch != kUpper)) {
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

}  // namespace sbench::union_fs
