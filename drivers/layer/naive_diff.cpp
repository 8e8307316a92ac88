#include "drivers/layer/naive_diff.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "drivers/base/file.h"
#include "drivers/layer/layer_packer.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

constexpr const char* kCapability = "security.capability";

/// Equal, or the same second where one side does not keep nanoseconds.
bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && (a.tv_nsec == b.tv_nsec || a.tv_nsec == 0 || b.tv_nsec == 0);
}

bool same_status(const struct stat& a, const struct stat& b) {
  if (a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid) {
    return false;
  }
  if (S_ISDIR(a.st_mode)) {
    return true;
  }
  const bool device = S_ISCHR(a.st_mode) || S_ISBLK(a.st_mode);
  return a.st_size == b.st_size && same_time(a.st_mtim, b.st_mtim) && (!device || a.st_rdev == b.st_rdev);
}

/// Walks two trees side by side. Directories that stand in both are entered by
/// path, so depth costs no descriptors.
class NaiveDiffer {
 public:
  NaiveDiffer(int lower_root, int upper_root, std::vector<Change>& changes)
      : lower_root_(lower_root), upper_root_(upper_root), changes_(changes) {}

  Status run() {
    pending_ = {"."};
    while (!pending_.empty()) {
      const std::string path = std::move(pending_.back());
      pending_.pop_back();
      SBENCH_TRY(compare_directory(path));
    }
    return {};
  }

 private:
  Status compare_directory(const std::string& path) {
    SBENCH_TRY_SET(const Fd lower_fd, open_directory(lower_root_, path));
    SBENCH_TRY_SET(const Fd upper_fd, open_directory(upper_root_, path));
    SBENCH_TRY_SET(const auto lower, list_directory(lower_fd.get(), path));
    SBENCH_TRY_SET(const auto upper, list_directory(upper_fd.get(), path));
    auto left = lower.begin();
    auto right = upper.begin();
    while (left != lower.end() || right != upper.end()) {
      if (right == upper.end() || (left != lower.end() && left->name < right->name)) {
        changes_.push_back({Change::Kind::deleted, join_path(path, left->name)});
        ++left;
      } else if (left == lower.end() || right->name < left->name) {
        SBENCH_TRY(add(join_path(path, right->name), right->status));
        ++right;
      } else {
        SBENCH_TRY(compare_file(join_path(path, right->name), right->name, lower_fd.get(), left->status, upper_fd.get(),
                                right->status));
        ++left;
        ++right;
      }
    }
    return {};
  }

  Status compare_file(std::string path, const std::string& name, int lower_fd, const struct stat& lower, int upper_fd,
                      const struct stat& upper) {
    if (lower.st_dev == upper.st_dev && lower.st_ino == upper.st_ino) {
      return {};  // one and the same file or subtree
    }
    bool same = same_status(lower, upper);
    if (same && !S_ISLNK(upper.st_mode)) {
      SBENCH_TRY_SET(const auto lower_capability, read_xattr(lower_fd, name, kCapability, path));
      SBENCH_TRY_SET(const auto upper_capability, read_xattr(upper_fd, name, kCapability, path));
      same = lower_capability == upper_capability;
    }
    if (!same) {
      changes_.push_back({Change::Kind::modified, path});
    }
    if (S_ISDIR(upper.st_mode)) {
      if (S_ISDIR(lower.st_mode)) {
        pending_.push_back(std::move(path));
      } else {
        SBENCH_TRY(add_children(path));
      }
    }
    return {};
  }

  Status add(const std::string& path, const struct stat& status) {
    changes_.push_back({Change::Kind::added, path});
    return S_ISDIR(status.st_mode) ? add_children(path) : Status();
  }

  /// Everything below `path`, which has no lower directory, is added.
  Status add_children(const std::string& path) {
    std::vector<std::string> directories = {path};
    while (!directories.empty()) {
      const std::string directory = std::move(directories.back());
      directories.pop_back();
      SBENCH_TRY_SET(const Fd fd, open_directory(upper_root_, directory));
      SBENCH_TRY_SET(const auto files, list_directory(fd.get(), directory));
      for (const auto& file : files) {
        changes_.push_back({Change::Kind::added, join_path(directory, file.name)});
        if (S_ISDIR(file.status.st_mode)) {
          directories.push_back(changes_.back().path);
        }
      }
    }
    return {};
  }

  int lower_root_;
  int upper_root_;
  std::vector<Change>& changes_;
  std::vector<std::string> pending_;  ///< directories of both trees still to compare
};

/// A directory in which something changed counts as modified, as Docker has it.
void add_changed_parents(std::vector<Change>& changes) {
  std::set<std::string> known;
  for (const auto& change : changes) {
    known.insert(change.path);
  }
  const std::size_t found = changes.size();
  for (std::size_t i = 0; i < found; ++i) {
    std::string path = changes[i].path;
    for (auto slash = path.rfind('/'); slash != std::string::npos; slash = path.rfind('/')) {
      path.resize(slash);
      if (!known.insert(path).second) {
        break;
      }
      changes.push_back({Change::Kind::modified, path});
    }
  }
}

}  // namespace

Result<std::vector<Change>> naive_changes(const std::optional<std::filesystem::path>& lower,
                                          const std::filesystem::path& upper) {
  std::vector<Change> changes;
  if (lower.has_value()) {
    SBENCH_TRY_SET(const Fd lower_fd, open_file(*lower, O_RDONLY | O_DIRECTORY));
    SBENCH_TRY_SET(const Fd upper_fd, open_file(upper, O_RDONLY | O_DIRECTORY));
    SBENCH_TRY(NaiveDiffer(lower_fd.get(), upper_fd.get(), changes).run());
    add_changed_parents(changes);
  } else {
    SBENCH_TRY(walk_tree(upper, [&](const Visited& file) -> Result<WalkStep> {
      if (file.path != ".") {
        changes.push_back({Change::Kind::added, file.path});
      }
      return WalkStep::enter;
    }));
  }
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) { return a.path < b.path; });
  return changes;
}

Status write_changes(const std::vector<Change>& changes, const std::filesystem::path& upper, ByteSink& tar) {
  SBENCH_TRY_SET(LayerPacker packer, LayerPacker::open(upper, tar));
  for (const auto& change : changes) {
    if (change.kind == Change::Kind::deleted) {
      SBENCH_TRY(packer.add_whiteout(change.path));
    } else {
      SBENCH_TRY(packer.add(change.path));
    }
  }
  return packer.finish();
}

}  // namespace sbench
