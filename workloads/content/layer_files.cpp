#include "workloads/content/layer_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "drivers/base/check.h"
#include "drivers/base/file.h"
#include "workloads/case.h"
#include "workloads/content/file_io.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporarySuffix = ".sbench-new";

std::array<timespec, 2> times_of(const ImageEntry& entry) {
  const timespec time{entry.mtime_ns / 1'000'000'000, entry.mtime_ns % 1'000'000'000};
  return {time, time};
}

/// Writes one layer relative to an open root.
class LayerWriter {
 public:
  LayerWriter(fs::path root, Fd root_fd, std::span<const std::byte> content)
      : root_(std::move(root)), root_fd_(std::move(root_fd)), content_(content) {}

  Status write(const ImageLayer& layer) {
    for (const auto& path : layer.deletions) {
      SBENCH_TRY(remove_tree(root_ / path));
    }
    for (const auto& entry : layer.entries) {
      SBENCH_TRY(write_entry(entry));
    }
    for (const auto& entry : layer.entries) {  // at the end: making children changes a folder's time
      if (S_ISDIR(entry.mode)) {
        SBENCH_TRY(set_times(entry));
      }
    }
    return {};
  }

 private:
  [[nodiscard]] Error failed(const char* action, const std::string& path) const {
    return errno_error("cannot {} {}", action, (root_ / path).string());
  }

  Status write_entry(const ImageEntry& entry) {
    if (S_ISDIR(entry.mode)) {
      return make_folder(entry);
    }
    if (S_ISLNK(entry.mode)) {
      return make_symlink(entry);
    }
    if (!entry.hard_link_target.empty()) {
      return ::linkat(root_fd_.get(), entry.hard_link_target.c_str(), root_fd_.get(), entry.path.c_str(), 0) == 0
                 ? Status()
                 : Status(failed("link", entry.path));
    }
    return make_regular(entry);
  }

  Status make_folder(const ImageEntry& entry) {
    if (::mkdirat(root_fd_.get(), entry.path.c_str(), 0700) != 0) {
      return errno == EEXIST ? Status() : Status(failed("make", entry.path));
    }
    if (entry.uid != 0 || entry.gid != 0) {
      if (::fchownat(root_fd_.get(), entry.path.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
        return failed("change the owner of", entry.path);
      }
    }
    return ::fchmodat(root_fd_.get(), entry.path.c_str(), entry.mode & 07777, 0) == 0
               ? Status()
               : Status(failed("change the mode of", entry.path));
  }

  Status make_symlink(const ImageEntry& entry) {
    if (::symlinkat(entry.link_target.c_str(), root_fd_.get(), entry.path.c_str()) != 0) {
      return failed("make", entry.path);
    }
    return set_times(entry);
  }

  Status make_regular(const ImageEntry& entry) {
    std::string path = entry.path;
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    Fd fd(::openat(root_fd_.get(), path.c_str(), kFlags, 0600));
    const bool replaces = !fd.valid() && errno == EEXIST;
    if (replaces) {
      path += kTemporarySuffix;
      fd = Fd(::openat(root_fd_.get(), path.c_str(), kFlags, 0600));
    }
    if (!fd.valid()) {
      return failed("make", path);
    }
    SBENCH_CHECK(content_.size() >= entry.size_bytes);
    SBENCH_TRY(write_bytes(fd.get(), content_.first(entry.size_bytes), 0, root_ / path));
    content_ = content_.subspan(entry.size_bytes);
    SBENCH_TRY(set_metadata(fd.get(), entry));
    if (replaces && ::renameat(root_fd_.get(), path.c_str(), root_fd_.get(), entry.path.c_str()) != 0) {
      return failed("replace", entry.path);
    }
    return {};
  }

  /// Owner first: changing it clears set-id bits and capabilities.
  Status set_metadata(int fd, const ImageEntry& entry) {
    if ((entry.uid != 0 || entry.gid != 0) && ::fchown(fd, entry.uid, entry.gid) != 0) {
      return failed("change the owner of", entry.path);
    }
    if (::fchmod(fd, entry.mode & 07777) != 0) {
      return failed("change the mode of", entry.path);
    }
    for (const auto& [name, value] : entry.xattrs) {
      if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0) {
        return failed("set an extended attribute of", entry.path);
      }
    }
    return ::futimens(fd, times_of(entry).data()) == 0 ? Status() : Status(failed("set the times of", entry.path));
  }

  Status set_times(const ImageEntry& entry) {
    return ::utimensat(root_fd_.get(), entry.path.c_str(), times_of(entry).data(), AT_SYMLINK_NOFOLLOW) == 0
               ? Status()
               : Status(failed("set the times of", entry.path));
  }

  fs::path root_;
  Fd root_fd_;
  std::span<const std::byte> content_;
};

/// All paths below `root`, without following links.
Result<std::set<std::string>> list_paths(const fs::path& root) {
  std::set<std::string> paths;
  std::error_code error;
  const std::size_t prefix = root.string().size() + 1;
  for (fs::recursive_directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    paths.insert(it->path().string().substr(prefix));
  }
  if (error) {
    return make_error(error.value(), "cannot list {}", root.string());
  }
  return paths;
}

Status verify_metadata(const fs::path& path, const ImageEntry& entry) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  const auto wrong = [&](const char* what) { return fmt::format("{} has another {}", path.string(), what); };
  SBENCH_TRY(verify(status.st_mode == entry.mode, wrong("type or mode")));
  SBENCH_TRY(verify(status.st_uid == entry.uid && status.st_gid == entry.gid, wrong("owner")));
  const std::int64_t mtime_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  SBENCH_TRY(verify(!entry.time_known || mtime_ns == entry.mtime_ns, wrong("modification time")));
  if (S_ISCHR(entry.mode) || S_ISBLK(entry.mode)) {
    SBENCH_TRY(verify(status.st_rdev == entry.device_number, wrong("device number")));
  }
  if (S_ISLNK(entry.mode)) {
    std::error_code error;
    SBENCH_TRY(verify(fs::read_symlink(path, error) == entry.link_target && !error, wrong("link target")));
  }
  for (const auto& [name, value] : entry.xattrs) {
    std::array<char, 256> found{};
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), found.data(), found.size());
    SBENCH_TRY(verify(size >= 0 && std::string_view(found.data(), static_cast<std::size_t>(size)) == value,
                      wrong("extended attribute")));
  }
  return {};
}

/// Whether `one` is still a hard link to `other`: an upper layer may have replaced either.
bool same_file(const ImageEntry& one, const ImageEntry& other) {
  return one.content.data() == other.content.data() && one.content_seed == other.content_seed &&
         one.size_bytes == other.size_bytes;
}

Status verify_entry(const fs::path& root, const MergedImage& image, const ImageEntry& entry) {
  const fs::path path = root / entry.path;
  SBENCH_TRY(verify_metadata(path, entry));
  if (!S_ISREG(entry.mode)) {
    return {};
  }
  const auto target = image.find(entry.hard_link_target);
  if (!entry.hard_link_target.empty() && target != image.end() && same_file(entry, *target->second)) {
    std::error_code error;
    SBENCH_TRY(verify(fs::equivalent(path, root / entry.hard_link_target, error) && !error,
                      fmt::format("{} is no longer a link to {}", path.string(), entry.hard_link_target)));
  }
  return verify_content(path, entry);
}

Status verify_paths(const fs::path& root, const MergedImage& image) {
  SBENCH_TRY_SET(const auto paths, list_paths(root));
  for (const auto& [path, entry] : image) {
    SBENCH_TRY(verify(paths.contains(path), fmt::format("{} is missing", (root / path).string())));
  }
  for (const auto& path : paths) {
    SBENCH_TRY(verify(image.contains(path), fmt::format("{} should not be there", (root / path).string())));
  }
  return {};
}

}  // namespace

Status verify_content(const fs::path& path, const ImageEntry& entry) {
  return entry.content.empty()
             ? verify_file(path, Content(entry.content_seed, entry.compressible_percent), entry.size_bytes)
             : verify_bytes(path, entry.content);
}

Status write_layer(const fs::path& root, const ImageLayer& layer, std::span<const std::byte> content) {
  SBENCH_CHECK(content.size() == layer.content_bytes);
  SBENCH_TRY_SET(Fd root_fd, open_file(root, O_RDONLY | O_DIRECTORY));
  return LayerWriter(root, std::move(root_fd), content).write(layer);
}

Status verify_image(const fs::path& root, const MergedImage& image, CheckDepth depth, Rng rng) {
  SBENCH_TRY(verify_paths(root, image));
  std::vector<const ImageEntry*> entries;
  for (const auto& [path, entry] : image) {
    if (depth == CheckDepth::full || S_ISREG(entry->mode)) {
      entries.push_back(entry);
    }
  }
  if (depth == CheckDepth::sampled) {
    rng.shuffle(entries);
    entries.resize(std::min<std::size_t>(entries.size(), 200));
  }
  for (const auto* entry : entries) {
    SBENCH_TRY(verify_entry(root, image, *entry));
  }
  return {};
}

}  // namespace sbench
