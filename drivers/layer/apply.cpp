#include "drivers/layer/apply.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <string_view>

#include "drivers/layer/contained.h"
#include "drivers/layer/directory_metadata.h"
#include "drivers/layer/layer_branch.h"
#include "drivers/layer/tar_reader.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

std::string_view parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string_view(".") : std::string_view(path).substr(0, slash);
}

std::string name_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

/// Unpacks one tar. Every file is made by calls relative to its parent's
/// descriptor, which LayerBranch opened in the root.
class LayerApplier {
 public:
  LayerApplier(ContainedRoot root, WhiteoutStyle style) : branch_(std::move(root), style), style_(style) {}

  Result<std::uint64_t> apply(ByteSource& tar) {
    TarReader reader(tar);
    for (;;) {
      SBENCH_TRY_SET(const ReadEntry* entry, reader.next());
      if (entry == nullptr) {
        break;
      }
      SBENCH_TRY(apply_entry(*entry, reader));
    }
    SBENCH_TRY(directories_.apply(branch_.root()));
    return bytes_written_;
  }

 private:
  enum class Meaning { file, whiteout, opaque, ignored };

  /// What an entry's path says apart from its type.
  static Result<Meaning> meaning_of(const std::string& path) {
    std::string_view rest = path;
    for (auto slash = rest.find('/'); slash != std::string_view::npos; slash = rest.find('/')) {
      const WhiteoutName parent = whiteout_name(rest.substr(0, slash));
      if (parent == WhiteoutName::internal) {
        return Meaning::ignored;
      }
      if (parent != WhiteoutName::none) {
        return plain_error(EINVAL, "layer tar: {} lies below a whiteout", path);
      }
      rest.remove_prefix(slash + 1);
    }
    switch (whiteout_name(rest)) {
      case WhiteoutName::none:
        return Meaning::file;
      case WhiteoutName::opaque:
        return Meaning::opaque;
      case WhiteoutName::internal:
        return Meaning::ignored;
      case WhiteoutName::whiteout:
        break;
    }
    const std::string_view hidden = rest.substr(std::string_view(kWhiteoutPrefix).size());
    if (hidden.empty() || hidden == "." || hidden == "..") {
      return plain_error(EINVAL, "layer tar: the whiteout {} names nothing that could be deleted", path);
    }
    return Meaning::whiteout;
  }

  Status apply_entry(const ReadEntry& entry, TarReader& reader) {
    SBENCH_TRY_SET(const std::string path, contained_path(entry.name));
    if (path == ".") {
      if (!S_ISDIR(entry.mode)) {
        return plain_error(EINVAL, "layer tar: {} would replace the root, but is no directory", entry.name);
      }
      return remember_directory(branch_.root().fd(), ".", path, entry);
    }
    SBENCH_TRY_SET(const Meaning meaning, meaning_of(path));
    const std::string name = name_of(path);
    switch (meaning) {
      case Meaning::ignored:
        return {};
      case Meaning::opaque:
        return branch_.hide_all(std::string(parent_of(path)));
      case Meaning::whiteout:
        return branch_.hide(std::string(parent_of(path)), name.substr(std::string_view(kWhiteoutPrefix).size()));
      case Meaning::file:
        break;
    }
    SBENCH_TRY_SET(const int parent, branch_.open_parent(parent_of(path)));
    if (entry.hard_link_target.has_value()) {
      SBENCH_TRY(make_hard_link(parent, name, path, *entry.hard_link_target));
    } else if (S_ISDIR(entry.mode)) {
      SBENCH_TRY(make_directory(parent, name, path, entry));
    } else if (S_ISREG(entry.mode)) {
      SBENCH_TRY(make_regular(parent, name, path, entry, reader));
    } else {
      SBENCH_TRY(make_special(parent, name, path, entry));
    }
    branch_.note_unpacked(name);
    return {};
  }

  Status remember_directory(int parent, const std::string& name, const std::string& path, const ReadEntry& entry) {
    struct stat status {};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot inspect {}", path);
    }
    directories_.add(path, status, entry);
    return {};
  }

  Status make_directory(int parent, const std::string& name, const std::string& path, const ReadEntry& entry) {
    SBENCH_TRY(branch_.make_directory(parent, name, path));
    return remember_directory(parent, name, path, entry);
  }

  /// Runs `make` (0, or -1 and errno); when something is in the way, removes that and runs it once more.
  template <typename Make>
  Status make_in_place(int parent, const std::string& name, const std::string& path, const Make& make) {
    if (make() == 0) {
      return branch_.clear_mark(parent, name, path);
    }
    if (errno == EEXIST) {
      SBENCH_TRY(branch_.remove(parent, name, path));
      if (make() == 0) {
        return branch_.clear_mark(parent, name, path);
      }
    }
    return errno_error("cannot make {}", path);
  }

  Status make_regular(int parent, const std::string& name, const std::string& path, const ReadEntry& entry,
                      TarReader& reader) {
    Fd file;
    SBENCH_TRY(make_in_place(parent, name, path, [&] {
      file = Fd(::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      return file.valid() ? 0 : -1;
    }));
    if (entry.size_bytes > 0) {
      SBENCH_TRY(write_content(file.get(), path, entry.size_bytes, reader));
    }
    if (branch_.parent_has_default_acl()) {
      SBENCH_TRY(remove_other_xattrs(parent, name, entry.xattrs, path));
    }
    if (::fchown(file.get(), entry.uid, entry.gid) != 0 || ::fchmod(file.get(), entry.mode & 07777) != 0) {
      return errno_error("cannot set owner and mode of {}", path);
    }
    for (const auto& [attribute, value] : entry.xattrs) {
      if (::fsetxattr(file.get(), attribute.c_str(), value.data(), value.size(), 0) != 0) {
        return errno_error("cannot set the attribute {} of {}", attribute, path);
      }
    }
    const timespec times[2] = {{0, UTIME_OMIT}, entry.mtime};
    if (::futimens(file.get(), times) != 0) {
      return errno_error("cannot set the time of {}", path);
    }
    return {};
  }

  Status write_content(int fd, const std::string& path, std::uint64_t size_bytes, TarReader& reader) {
    std::uint64_t end = 0;
    for (;;) {
      SBENCH_TRY_SET(const auto run, reader.next_data());
      if (!run.has_value()) {
        break;
      }
      std::size_t done = 0;
      while (done < run->data.size()) {
        const ssize_t count =
            ::pwrite(fd, run->data.data() + done, run->data.size() - done, static_cast<off_t>(run->offset + done));
        if (count < 0 && errno != EINTR) {
          return errno_error("cannot write {}", path);
        }
        done += count < 0 ? 0 : static_cast<std::size_t>(count);
      }
      bytes_written_ += run->data.size();
      end = run->offset + run->data.size();
    }
    if (end < size_bytes && ::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
      return errno_error("cannot size {} to {} bytes", path, size_bytes);
    }
    return {};
  }

  Status make_special(int parent, const std::string& name, const std::string& path, const ReadEntry& entry) {
    const bool link = S_ISLNK(entry.mode);
    if (style_ == WhiteoutStyle::overlay && S_ISCHR(entry.mode) && entry.device_number == 0) {
      return plain_error(EPERM, "cannot keep {} in an overlay layer: a 0:0 character device is a whiteout there", path);
    }
    SBENCH_TRY(make_in_place(parent, name, path, [&] {
      return link ? ::symlinkat(entry.link_target.c_str(), parent, name.c_str())
                  : ::mknodat(parent, name.c_str(), (entry.mode & S_IFMT) | 0600, entry.device_number);
    }));
    if (branch_.parent_has_default_acl() && !link) {
      SBENCH_TRY(remove_other_xattrs(parent, name, entry.xattrs, path));
    }
    // By a descriptor: fchmodat(2) would follow a link that somebody puts there meanwhile.
    const Fd made(::openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!made.valid() || ::fstat(made.get(), &status) != 0) {
      return errno_error("cannot inspect {}", path);
    }
    if ((status.st_mode & S_IFMT) != (entry.mode & S_IFMT)) {
      return make_error(EBUSY, "somebody else exchanges {}", path);
    }
    if (::fchownat(made.get(), "", entry.uid, entry.gid, AT_EMPTY_PATH) != 0 ||
        (!link && ::chmod(fmt::format("/proc/self/fd/{}", made.get()).c_str(), entry.mode & 07777) != 0)) {
      return errno_error("cannot set owner and mode of {}", path);
    }
    SBENCH_TRY(write_xattrs(parent, name, entry.xattrs, path));
    const timespec times[2] = {{0, UTIME_OMIT}, entry.mtime};
    if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot set the time of {}", path);
    }
    return {};
  }

  /// A hard link to what stands at `target` itself, also when that is a symbolic link.
  Status make_hard_link(int parent, const std::string& name, const std::string& path, const std::string& target) {
    SBENCH_TRY_SET(const std::string target_path, contained_path(target));
    SBENCH_TRY_SET(const Meaning meaning, meaning_of(target_path));
    const std::string target_name = name_of(target_path);
    SBENCH_TRY_SET(const Fd target_parent, branch_.root().open_directory(std::string(parent_of(target_path))));
    struct stat before {};
    struct stat existing {};
    if (meaning != Meaning::file || target_path == "." ||
        ::fstatat(target_parent.get(), target_name.c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0 ||
        branch_.is_mark(before)) {
      return plain_error(ENOENT, "cannot link {} to {}: the layer has no such file", path, shown(target));
    }
    if (S_ISDIR(before.st_mode)) {
      return plain_error(EINVAL, "layer tar: {} is a hard link to the directory {}", path, target_path);
    }
    if (::fstatat(parent, name.c_str(), &existing, AT_SYMLINK_NOFOLLOW) == 0 && existing.st_dev == before.st_dev &&
        existing.st_ino == before.st_ino) {
      return {};  // that link stands already
    }
    return make_in_place(parent, name, path,
                         [&] { return ::linkat(target_parent.get(), target_name.c_str(), parent, name.c_str(), 0); });
  }

  LayerBranch branch_;
  WhiteoutStyle style_;
  DirectoryMetadata directories_;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace

Result<std::uint64_t> apply_layer(ByteSource& tar, const std::filesystem::path& root, WhiteoutStyle style) {
  SBENCH_TRY_SET(ContainedRoot contained, ContainedRoot::open(root));
  return LayerApplier(std::move(contained), style).apply(tar);
}

}  // namespace sbench
