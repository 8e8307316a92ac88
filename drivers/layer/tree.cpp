#include "drivers/layer/tree.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <memory>

#include "drivers/base/hash.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;

/// Hash of a whole file, in chunks of a fixed size so that equal content gives equal hashes.
class ContentHasher {
 public:
  Result<std::uint64_t> hash(const Visited& file) {
    const Fd fd(::openat(file.directory_fd, file.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) {
      return errno_error("cannot open {}", file.path);
    }
    std::uint64_t value = 0;
    for (;;) {
      std::size_t filled = 0;
      while (filled < kChunkBytes) {
        const ssize_t count = ::read(fd.get(), buffer_.get() + filled, kChunkBytes - filled);
        if (count < 0 && errno == EINTR) {
          continue;
        }
        if (count < 0) {
          return errno_error("cannot read {}", file.path);
        }
        if (count == 0) {
          break;
        }
        filled += static_cast<std::size_t>(count);
      }
      value = xxh3({buffer_.get(), filled}, value);
      if (filled < kChunkBytes) {
        return value;
      }
    }
  }

 private:
  std::unique_ptr<std::byte[]> buffer_{new std::byte[kChunkBytes]};
};

Result<std::string> read_link(const Visited& file) {
  std::string target(4096, '\0');
  const ssize_t size = ::readlinkat(file.directory_fd, file.name.c_str(), target.data(), target.size());
  if (size < 0) {
    return errno_error("cannot read the link {}", file.path);
  }
  target.resize(static_cast<std::size_t>(size));
  return target;
}

Result<TreeEntry> read_entry(const Visited& file, const TreeOptions& options, ContentHasher& hasher) {
  const struct stat& status = file.status;
  TreeEntry entry;
  entry.mode = status.st_mode;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.size_bytes = S_ISDIR(status.st_mode) ? 0 : static_cast<std::uint64_t>(status.st_size);
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    entry.device_number = status.st_rdev;
  }
  entry.mtime_ns = file.is_directory() && !options.directory_times ? 0 : nanoseconds(status.st_mtim);
  if (S_ISREG(status.st_mode) && options.content) {
    SBENCH_TRY_SET(entry.content_hash, hasher.hash(file));
  }
  if (S_ISLNK(status.st_mode)) {
    SBENCH_TRY_SET(entry.link_target, read_link(file));
  }
  SBENCH_TRY_SET(entry.xattrs, read_xattrs(file.directory_fd, file.name, file.path));
  std::erase_if(entry.xattrs, [](const auto& xattr) { return is_unlayered_xattr(xattr.first); });
  return entry;
}

/// Collects the differences of one path, up to a limit.
class Comparison {
 public:
  Comparison(std::vector<std::string>& differences, std::size_t max) : differences_(differences), max_(max) {}

  [[nodiscard]] bool full() const { return differences_.size() >= max_; }

  void add(std::string sentence) {
    if (!full()) {
      differences_.push_back(std::move(sentence));
    }
  }

  template <typename T>
  void field(const std::string& path, const char* name, const T& expected, const T& actual) {
    if (expected != actual) {
      add(fmt::format("{}: {} is {}, not {}", path, name, actual, expected));
    }
  }

  void entry(const std::string& path, const TreeEntry& expected, const TreeEntry& actual) {
    if (expected.mode != actual.mode) {
      add(fmt::format("{}: mode is {:o}, not {:o}", path, actual.mode, expected.mode));
    }
    field(path, "owner", expected.uid, actual.uid);
    field(path, "group", expected.gid, actual.gid);
    field(path, "size in bytes", expected.size_bytes, actual.size_bytes);
    field(path, "device number", expected.device_number, actual.device_number);
    field(path, "modification time in ns", expected.mtime_ns, actual.mtime_ns);
    if (expected.content_hash != actual.content_hash) {
      add(fmt::format("{}: content differs (XXH3 {:016x}, not {:016x})", path, actual.content_hash,
                      expected.content_hash));
    }
    field(path, "link target", quoted(expected.link_target), quoted(actual.link_target));
    field(path, "first hard link", quoted(expected.hard_link_of), quoted(actual.hard_link_of));
    xattrs(path, expected.xattrs, actual.xattrs);
  }

 private:
  static std::string quoted(const std::string& text) { return "'" + text + "'"; }

  void xattrs(const std::string& path, const Xattrs& expected, const Xattrs& actual) {
    for (const auto& [name, value] : expected) {
      const auto found = actual.find(name);
      if (found == actual.end()) {
        add(fmt::format("{}: attribute {} is missing", path, name));
      } else if (found->second != value) {
        add(fmt::format("{}: attribute {} differs", path, name));
      }
    }
    for (const auto& [name, value] : actual) {
      if (!expected.contains(name)) {
        add(fmt::format("{}: attribute {} should not be there", path, name));
      }
    }
  }

  std::vector<std::string>& differences_;
  std::size_t max_;
};

}  // namespace

Result<Tree> read_tree(const std::filesystem::path& root, const TreeOptions& options) {
  Tree tree;
  ContentHasher hasher;
  using FileId = std::pair<std::uint64_t, std::uint64_t>;
  std::map<std::string, FileId> linked;
  SBENCH_TRY(walk_tree(root, [&](const Visited& file) -> Result<WalkStep> {
    SBENCH_TRY_SET(TreeEntry entry, read_entry(file, options, hasher));
    tree.emplace(file.path, std::move(entry));
    if (!file.is_directory() && file.status.st_nlink > 1) {
      linked.emplace(file.path, FileId(file.status.st_dev, file.status.st_ino));
    }
    return WalkStep::enter;
  }));
  std::map<FileId, std::string> first_paths;
  for (const auto& [path, id] : linked) {
    const auto [first, inserted] = first_paths.emplace(id, path);
    if (!inserted) {
      tree[path].hard_link_of = first->second;
    }
  }
  return tree;
}

std::vector<std::string> compare_trees(const Tree& expected, const Tree& actual, std::size_t differences_max) {
  std::vector<std::string> differences;
  Comparison comparison(differences, differences_max);
  auto left = expected.begin();
  auto right = actual.begin();
  while (!comparison.full() && (left != expected.end() || right != actual.end())) {
    if (right == actual.end() || (left != expected.end() && left->first < right->first)) {
      comparison.add(fmt::format("{}: is missing", left->first));
      ++left;
    } else if (left == expected.end() || right->first < left->first) {
      comparison.add(fmt::format("{}: should not be there", right->first));
      ++right;
    } else {
      comparison.entry(left->first, left->second, right->second);
      ++left;
      ++right;
    }
  }
  return differences;
}

}  // namespace sbench
