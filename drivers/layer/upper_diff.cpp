#include "drivers/layer/upper_diff.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "drivers/base/file.h"
#include "drivers/layer/layer_packer.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

/// How a branch of one dialect (overlay or aufs) marks things.
class Dialect {
 public:
  explicit Dialect(WhiteoutStyle style) : aufs_(style == WhiteoutStyle::aufs) {
    SBENCH_CHECK(style != WhiteoutStyle::erase);
  }

  [[nodiscard]] bool is_aufs() const { return aufs_; }

  /// 'y': hides lower entries; 'x': may hold whiteouts in attribute form; NUL: neither.
  [[nodiscard]] static Result<char> overlay_mark(int directory_fd, const std::string& name, const std::string& path) {
    for (const char* attribute : {"trusted.overlay.opaque", "user.overlay.opaque"}) {
      SBENCH_TRY_SET(const auto value, read_xattr(directory_fd, name, attribute, path));
      if (value.has_value() && value->size() == 1) {
        return value->front();
      }
    }
    return '\0';
  }

  /// Whether the directory `name` hides all lower entries of it.
  [[nodiscard]] Result<bool> is_opaque(int directory_fd, const std::string& name, const std::string& path) const {
    if (aufs_) {
      struct stat status {};
      return ::fstatat(directory_fd, join_path(name, kOpaqueName).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    }
    SBENCH_TRY_SET(const char mark, overlay_mark(directory_fd, name, path));
    return mark == 'y';
  }

  /// Whether an overlay file that exists as `status` is a whiteout in attribute form.
  [[nodiscard]] static Result<bool> is_xattr_whiteout(int directory_fd, const std::string& name,
                                                      const struct stat& status, const std::string& path) {
    if (!S_ISREG(status.st_mode) || status.st_size != 0) {
      return false;
    }
    SBENCH_TRY_SET(const char mark, overlay_mark(directory_fd, ".", path));
    if (mark != 'x') {
      return false;
    }
    for (const char* attribute : {"trusted.overlay.whiteout", "user.overlay.whiteout"}) {
      SBENCH_TRY_SET(const auto value, read_xattr(directory_fd, name, attribute, path));
      if (value.has_value()) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] Result<bool> is_whiteout(int directory_fd, const std::string& name, const struct stat& status,
                                         const std::string& path) const {
    if (aufs_) {
      return whiteout_name(name) == WhiteoutName::whiteout;
    }
    if (is_overlay_whiteout(status)) {
      return true;
    }
    return is_xattr_whiteout(directory_fd, name, status, path);
  }

  /// EXDEV for what only the mounted tree can show: redirected directories and files without their data.
  [[nodiscard]] Status check_complete(int directory_fd, const std::string& name, const struct stat& status,
                                      const std::string& path) const {
    if (aufs_ || (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))) {
      return {};
    }
    const bool directory = S_ISDIR(status.st_mode);
    for (const std::string prefix : {"trusted.overlay.", "user.overlay."}) {
      const std::string attribute = prefix + (directory ? "redirect" : "metacopy");
      SBENCH_TRY_SET(const auto value, read_xattr(directory_fd, name, attribute.c_str(), path));
      if (value.has_value()) {
        return plain_error(EXDEV, "the upper directory alone cannot tell what is in {}: {}", path,
                           directory ? "it was renamed from a lower directory (redirect)"
                                     : "only its metadata was copied up (metacopy)");
      }
    }
    return {};
  }

 private:
  bool aufs_;
};

/// Puts what a walk over an upper directory meets into a layer tar.
class UpperPacker {
 public:
  UpperPacker(Dialect dialect, LayerPacker& packer) : dialect_(dialect), packer_(packer) {}

  Result<WalkStep> visit(const Visited& file) {
    if (file.path == ".") {
      SBENCH_TRY(add_opaque_mark(file));
      return WalkStep::enter;
    }
    if (dialect_.is_aufs() && whiteout_name(file.name) != WhiteoutName::none) {
      if (whiteout_name(file.name) == WhiteoutName::whiteout) {
        SBENCH_TRY(packer_.add_whiteout(hidden_path(file)));
      }
      return WalkStep::skip;
    }
    SBENCH_TRY_SET(const bool whiteout, dialect_.is_whiteout(file.directory_fd, file.name, file.status, file.path));
    if (whiteout) {
      SBENCH_TRY(packer_.add_whiteout(file.path));
      return WalkStep::skip;
    }
    SBENCH_TRY(dialect_.check_complete(file.directory_fd, file.name, file.status, file.path));
    SBENCH_TRY(packer_.add(file.path));
    if (file.is_directory()) {
      SBENCH_TRY(add_opaque_mark(file));
    }
    return WalkStep::enter;
  }

 private:
  /// The path that the aufs whiteout `file` deletes.
  static std::string hidden_path(const Visited& file) {
    const std::string parent =
        file.path.size() == file.name.size() ? "." : file.path.substr(0, file.path.size() - file.name.size() - 1);
    return join_path(parent, std::string_view(file.name).substr(std::string_view(kWhiteoutPrefix).size()));
  }

  Status add_opaque_mark(const Visited& file) {
    SBENCH_TRY_SET(const bool opaque, dialect_.is_opaque(file.directory_fd, file.name, file.path));
    return opaque ? packer_.add_whiteout(file.path, true) : Status();
  }

  Dialect dialect_;
  LayerPacker& packer_;
};

/// Finds changes of an upper directory against the stack of its lowers.
class UpperComparer {
 public:
  UpperComparer(Dialect dialect, int upper_root, std::vector<Fd> lowers)
      : dialect_(dialect), upper_root_(upper_root), lowers_(std::move(lowers)) {}

  Result<std::vector<Change>> run() {
    Pending root{".", {}, false};
    for (std::size_t i = 0; i < lowers_.size(); ++i) {
      root.lowers.push_back(i);
    }
    SBENCH_TRY_SET(root.opaque, dialect_.is_opaque(upper_root_, ".", "."));
    pending_.push_back(std::move(root));
    while (!pending_.empty()) {
      const Pending directory = std::move(pending_.back());
      pending_.pop_back();
      SBENCH_TRY(compare_directory(directory));
    }
    std::sort(changes_.begin(), changes_.end(), [](const Change& a, const Change& b) { return a.path < b.path; });
    return std::move(changes_);
  }

 private:
  struct Pending {
    std::string path;
    std::vector<std::size_t> lowers;  ///< those that have this directory in view, nearest first
    bool opaque = false;              ///< in the upper, or below such a directory: lower entries do not show through
  };
  /// What the lowers show at one name.
  struct LowerView {
    bool exists = false;
    std::vector<std::size_t> directories;  ///< lowers whose directories merge there
  };

  Status compare_directory(const Pending& directory) {
    SBENCH_TRY_SET(const Fd fd, open_directory(upper_root_, directory.path));
    SBENCH_TRY_SET(const auto files, list_directory(fd.get(), directory.path));
    std::vector<Fd> lower_fds;
    for (const std::size_t lower : directory.lowers) {
      SBENCH_TRY_SET(Fd lower_fd, open_directory(lowers_[lower].get(), directory.path));
      lower_fds.push_back(std::move(lower_fd));
    }
    std::set<std::string> present;
    for (const auto& file : files) {
      SBENCH_TRY(compare_file(directory, file, fd.get(), lower_fds, present));
    }
    return directory.opaque ? delete_hidden(directory, lower_fds, present) : Status();
  }

  Status compare_file(const Pending& directory, const ListedFile& file, int fd, const std::vector<Fd>& lower_fds,
                      std::set<std::string>& present) {
    const WhiteoutName meaning = dialect_.is_aufs() ? whiteout_name(file.name) : WhiteoutName::none;
    if (meaning == WhiteoutName::opaque || meaning == WhiteoutName::internal) {
      return {};
    }
    const std::string name =
        meaning == WhiteoutName::whiteout ? file.name.substr(std::string_view(kWhiteoutPrefix).size()) : file.name;
    std::string path = join_path(directory.path, name);
    SBENCH_TRY_SET(const bool whiteout, dialect_.is_whiteout(fd, file.name, file.status, path));
    SBENCH_TRY_SET(LowerView lower, look_up(directory, name, path, lower_fds));
    if (whiteout) {
      if (lower.exists && !directory.opaque) {
        changes_.push_back({Change::Kind::deleted, std::move(path)});
      }
      return {};
    }
    SBENCH_TRY(dialect_.check_complete(fd, file.name, file.status, path));
    present.insert(name);
    changes_.push_back({lower.exists ? Change::Kind::modified : Change::Kind::added, path});
    if (S_ISDIR(file.status.st_mode)) {
      SBENCH_TRY_SET(const bool opaque, dialect_.is_opaque(fd, file.name, path));
      pending_.push_back({std::move(path), std::move(lower.directories), directory.opaque || opaque});
    }
    return {};
  }

  Result<LowerView> look_up(const Pending& directory, const std::string& name, const std::string& path,
                            const std::vector<Fd>& lower_fds) {
    LowerView view;
    for (std::size_t i = 0; i < lower_fds.size(); ++i) {
      const int fd = lower_fds[i].get();
      struct stat status {};
      if (dialect_.is_aufs() && ::fstatat(fd, (kWhiteoutPrefix + name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        return view;
      }
      if (::fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT || errno == ENAMETOOLONG) {
          continue;
        }
        return errno_error("cannot inspect {} in a lower layer", path);
      }
      if (!dialect_.is_aufs()) {
        SBENCH_TRY_SET(const bool whiteout, dialect_.is_whiteout(fd, name, status, path));
        if (whiteout) {
          return view;
        }
      }
      if (!S_ISDIR(status.st_mode)) {
        view.exists = true;  // below a nearer directory it stays hidden, yet that directory exists
        return view;
      }
      SBENCH_TRY(dialect_.check_complete(fd, name, status, path));
      view.exists = true;
      view.directories.push_back(directory.lowers[i]);
      SBENCH_TRY_SET(const bool opaque, dialect_.is_opaque(fd, name, path));
      if (opaque) {
        return view;
      }
    }
    return view;
  }

  /// An opaque directory deletes each lower name that it does not hold itself.
  Status delete_hidden(const Pending& directory, const std::vector<Fd>& lower_fds,
                       const std::set<std::string>& present) {
    std::set<std::string> names;
    for (const auto& lower_fd : lower_fds) {
      SBENCH_TRY_SET(const auto files, list_directory(lower_fd.get(), directory.path));
      for (const auto& file : files) {
        if (!dialect_.is_aufs() || whiteout_name(file.name) == WhiteoutName::none) {
          names.insert(file.name);
        }
      }
    }
    for (const auto& name : names) {
      if (present.contains(name)) {
        continue;
      }
      std::string path = join_path(directory.path, name);
      SBENCH_TRY_SET(const LowerView lower, look_up(directory, name, path, lower_fds));
      if (lower.exists) {
        changes_.push_back({Change::Kind::deleted, std::move(path)});
      }
    }
    return {};
  }

  Dialect dialect_;
  int upper_root_;
  std::vector<Fd> lowers_;
  std::vector<Pending> pending_;
  std::vector<Change> changes_;
};

}  // namespace

Status write_upper(const std::filesystem::path& upper, WhiteoutStyle style, ByteSink& tar) {
  SBENCH_TRY_SET(LayerPacker packer, LayerPacker::open(upper, tar));
  UpperPacker visitor(Dialect(style), packer);
  SBENCH_TRY(walk_tree(upper, [&](const Visited& file) { return visitor.visit(file); }));
  return packer.finish();
}

Result<std::vector<Change>> upper_changes(const std::filesystem::path& upper, WhiteoutStyle style,
                                          const std::vector<std::filesystem::path>& lowers) {
  SBENCH_TRY_SET(const Fd upper_fd, open_file(upper, O_RDONLY | O_DIRECTORY));
  std::vector<Fd> lower_fds;
  for (const auto& lower : lowers) {
    SBENCH_TRY_SET(Fd fd, open_file(lower, O_RDONLY | O_DIRECTORY));
    lower_fds.push_back(std::move(fd));
  }
  return UpperComparer(Dialect(style), upper_fd.get(), std::move(lower_fds)).run();
}

}  // namespace sbench
