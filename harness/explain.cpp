#include "harness/explain.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "drivers/base/file.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/whiteout.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

using Parts = std::vector<std::string>;

Parts parts_of(const std::string& path) {
  Parts parts;
  for (const auto& part : fs::path(path)) {
    if (part != "." && part != "/" && !part.empty()) {
      parts.push_back(part.string());
    }
  }
  return parts;
}

std::string joined(const Parts& parts, std::size_t count) {
  return fmt::format("{}", fmt::join(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(count), "/"));
}

/// Where a union driver keeps a layer's changes, and how it spells them; nothing for drivers of another kind.
struct UnionLayout {
  std::string before;  ///< root/before/ID/after
  std::string after;
  bool overlay_marks = false;
  bool aufs_marks = false;
};

const UnionLayout* union_layout(const std::string& driver) {
  static const std::map<std::string, UnionLayout> layouts = {{"overlay2", {"layers", "diff", true, false}},
                                                             {"fuse-overlayfs", {"layers", "diff", true, true}},
                                                             {"aufs", {"diff", "", false, true}}};
  const auto found = layouts.find(driver);
  return found == layouts.end() ? nullptr : &found->second;
}

/// Asks one layer directory after the other, from the top.
class UnionSearch {
 public:
  UnionSearch(const UnionLayout& layout, fs::path root, Parts wanted)
      : layout_(layout), root_(std::move(root)), wanted_(std::move(wanted)) {}

  Result<Explanation> search(const std::vector<LayerId>& layers) {
    for (const auto& layer : layers) {
      SBENCH_TRY(ask(layer));
      if (done_) {
        break;
      }
    }
    if (!made_.answer.has_value() && made_.reason.empty()) {
      made_.reason = "no layer has it";
    }
    return std::move(made_);
  }

 private:
  [[nodiscard]] fs::path directory_of(const LayerId& layer) const {
    const fs::path folder = root_ / layout_.before / layer;
    return layout_.after.empty() ? folder : folder / layout_.after;
  }

  Result<std::optional<std::string>> mark(const fs::path& path, const char* name) const {
    SBENCH_TRY_SET(const Fd folder, open_file(path.parent_path(), O_RDONLY | O_DIRECTORY));
    for (const char* prefix : {"trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."}) {
      const std::string attribute = std::string(prefix) + name;
      SBENCH_TRY_SET(auto value, read_xattr(folder.get(), path.filename().string(), attribute.c_str(), path.string()));
      if (value.has_value()) {
        return value;
      }
    }
    return std::optional<std::string>();
  }

  Result<bool> is_opaque(const fs::path& directory) const {
    struct stat status {};
    if (layout_.aufs_marks && ::lstat((directory / kOpaqueName).c_str(), &status) == 0) {
      return true;
    }
    if (!layout_.overlay_marks) {
      return false;
    }
    SBENCH_TRY_SET(const auto value, mark(directory, "opaque"));
    return value == "y";
  }

  Result<bool> is_whiteout(const fs::path& path, bool there, const struct stat& status) const {
    struct stat beside {};
    if (layout_.aufs_marks && ::lstat((path.parent_path() / (kWhiteoutPrefix + path.filename().string())).c_str(), &beside) == 0) {
      return true;
    }
    if (!there || !layout_.overlay_marks) {
      return false;
    }
    if (is_overlay_whiteout(status)) {
      return true;
    }
    if (!S_ISREG(status.st_mode) || status.st_size != 0) {
      return false;
    }
    SBENCH_TRY_SET(const auto value, mark(path, "whiteout"));
    return value.has_value();
  }

  void end(const std::string& reason) {
    done_ = true;
    if (!made_.answer.has_value()) {
      made_.reason = reason;
    }
  }

  Status ask(const LayerId& layer) {
    Explanation::Row row{layer, ""};
    const Parts path = wanted_;  // redirects change it for the layers below
    Parts below = wanted_;
    bool opaque = false;
    fs::path full = directory_of(layer);
    for (std::size_t i = 0; i <= path.size() && row.what.empty(); ++i) {
      full = i == 0 ? full : full / path[i - 1];
      const std::string shown = i == 0 ? "/" : joined(path, i);
      struct stat status {};
      const bool there = ::lstat(full.c_str(), &status) == 0;
      bool whiteout = false;
      if (i > 0) {
        SBENCH_TRY_SET(whiteout, is_whiteout(full, there, status));
      }
      if (whiteout) {
        row.what = fmt::format("whiteout of {}", shown);
        end(fmt::format("{} deleted {}", layer, shown));
      } else if (!there) {
        row.what = i == path.size() ? "nothing" : fmt::format("nothing: no {}", shown);
      } else if (i == path.size()) {
        SBENCH_TRY(take_entry(layer, full, status, row, opaque, below));
      } else if (!S_ISDIR(status.st_mode)) {
        row.what = fmt::format("{} is {}, which has nothing below it", shown, S_ISLNK(status.st_mode) ? "a link" : "no directory");
        end(fmt::format("{} in {} is no directory", shown, layer));
      } else {
        SBENCH_TRY_SET(const bool here, is_opaque(full));
        if (here) {
          opaque = true;
          opaque_at_ = shown;
        }
        SBENCH_TRY(follow_redirect(full, i, below));
      }
    }
    row.what += redirected_;
    redirected_.clear();
    made_.rows.push_back(row);
    wanted_ = below;
    if (opaque && !done_) {
      made_.rows.back().what += fmt::format("; {} is opaque: lower layers are not asked", opaque_at_);
      end(fmt::format("{} made {} opaque, which hides what lies below", layer, opaque_at_));
    }
    return {};
  }

  /// A directory that was renamed has its lower entries under another path.
  Status follow_redirect(const fs::path& full, std::size_t depth, Parts& below) {
    if (!layout_.overlay_marks || depth == 0) {
      return {};
    }
    SBENCH_TRY_SET(const auto value, mark(full, "redirect"));
    if (!value.has_value()) {
      return {};
    }
    // `below` and the path of this layer end alike from `depth` on, whatever came before.
    const std::size_t rest = wanted_.size() - depth;
    Parts next = value->starts_with('/') ? Parts() : Parts(below.begin(), below.end() - static_cast<std::ptrdiff_t>(rest) - 1);
    for (const auto& part : parts_of(*value)) {
      next.push_back(part);
    }
    next.insert(next.end(), below.end() - static_cast<std::ptrdiff_t>(rest), below.end());
    below = std::move(next);
    redirected_ += fmt::format("; redirect: lower layers are asked for {}", joined(below, below.size()));
    return {};
  }

  /// The path itself stands in this layer.
  Status take_entry(const LayerId& layer, const fs::path& full, const struct stat& status, Explanation::Row& row,
                    bool& opaque, Parts& below) {
    if (S_ISDIR(status.st_mode)) {
      if (wants_data_) {
        row.what = "a directory, where file content was looked for";
        end("");
        return {};
      }
      row.what = made_.answer ? "directory, merged: its entries show too" : "directory";
      if (!made_.answer) {
        made_.answer = layer;
        made_.reason = "it is the topmost directory of that path; its owner, mode and times count, and lower entries merge in";
      }
      SBENCH_TRY_SET(const bool here, is_opaque(full));
      if (here) {
        opaque = true;
        opaque_at_ = joined(wanted_, wanted_.size());
        opaque_at_ = opaque_at_.empty() ? "/" : opaque_at_;
      }
      return follow_redirect(full, wanted_.size(), below);
    }
    if (made_.answer && !wants_data_) {
      row.what = "no directory: hidden by the one above, which ends here";
      done_ = true;
      return {};
    }
    std::optional<std::string> metacopy;
    if (layout_.overlay_marks && S_ISREG(status.st_mode)) {
      SBENCH_TRY_SET(metacopy, mark(full, "metacopy"));
    }
    const char* kind = S_ISREG(status.st_mode) ? "file" : S_ISLNK(status.st_mode) ? "link" : "special file";
    if (wants_data_) {
      row.what = metacopy ? "file, metadata only" : "file: its content is the one that is read";
      done_ = !metacopy;
      made_.reason += metacopy ? "" : fmt::format("; the content is {}'s", layer);
      return metacopy ? follow_redirect(full, wanted_.size(), below) : Status();
    }
    made_.answer = layer;
    if (!metacopy) {
      row.what = kind;
      made_.reason = "it is the topmost entry of that path";
      done_ = true;
      return {};
    }
    row.what = "file, metadata only (metacopy): content comes from below";
    made_.reason = "owner, mode and times are its";
    wants_data_ = true;
    return follow_redirect(full, wanted_.size(), below);
  }

  const UnionLayout& layout_;
  fs::path root_;
  Parts wanted_;
  Explanation made_;
  bool done_ = false;
  bool wants_data_ = false;  ///< a metadata-only copy was found; whose content?
  std::string opaque_at_;
  std::string redirected_;
};

/// What the change list of a layer says of `path`; empty: nothing.
std::string change_of(const std::vector<Change>& changes, const Parts& path, bool& there) {
  for (std::size_t count = path.size(); count > 0; --count) {
    const std::string prefix = joined(path, count);
    for (const auto& change : changes) {
      const bool deleted = change.kind == Change::Kind::deleted;
      if (change.path == prefix && (count == path.size() || deleted)) {
        there = !deleted;
        return fmt::format("{} {}", change.kind == Change::Kind::added ? "added" : deleted ? "deleted" : "changed", prefix);
      }
    }
  }
  return {};
}

Result<Explanation> explain_by_changes(Driver& driver, const std::vector<LayerId>& layers, const Parts& path) {
  Explanation made;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ParentId parent = i + 1 < layers.size() ? ParentId(layers[i + 1]) : ParentId();
    SBENCH_TRY_SET(const auto changes, driver.changes(layers[i], parent));
    bool there = false;
    const std::string what = change_of(changes, path, there);
    if (what.empty() && !(path.empty() && i + 1 == layers.size())) {
      made.rows.push_back({layers[i], "as below"});
      continue;
    }
    made.rows.push_back({layers[i], what.empty() ? "its root" : what});
    if (there || what.empty()) {
      made.answer = layers[i];
      made.reason = "it is the last layer that " + (what.empty() ? std::string("made the tree") : what) +
                    "; the driver keeps whole trees, so the layers above hold it too";
    } else {
      made.reason = fmt::format("{} {}", layers[i], what);
    }
    return made;
  }
  made.reason = "no layer has it";
  return made;
}

/// Whether the mounted tree has `path`; links in it are not followed. Nothing when one stands in the way.
Result<std::optional<bool>> stands_in_tree(Driver& driver, const LayerId& id, const Parts& path) {
  SBENCH_TRY_SET(Mount mount, driver.mount(id));
  fs::path full = mount.path();
  std::optional<bool> there = true;
  for (std::size_t i = 0; i < path.size() && there == true; ++i) {
    full /= path[i];
    struct stat status {};
    if (::lstat(full.c_str(), &status) != 0) {
      if (errno != ENOENT && errno != ENOTDIR) {
        return errno_error("cannot inspect {}", full.string());
      }
      there = false;
    } else if (S_ISLNK(status.st_mode) && i + 1 < path.size()) {
      there = std::nullopt;
    }
  }
  SBENCH_TRY(mount.release());
  return there;
}

}  // namespace

Result<Explanation> explain_path(Driver& driver, const std::string& name, const fs::path& root, const LayerId& id,
                                 const std::string& path) {
  const auto contained = contained_path(path.empty() ? "/" : path);
  if (!contained.ok()) {
    return plain_error(EINVAL, "{} is no path in a container", path);
  }
  const Parts parts = parts_of(*contained);
  SBENCH_TRY_SET(const auto rows, driver.list());
  const std::map<LayerId, ParentId> parents(rows.begin(), rows.end());
  if (!parents.contains(id)) {
    return plain_error(ENOENT, "there is no layer {}", id);
  }
  std::vector<LayerId> layers;
  for (ParentId at = id; at.has_value(); at = parents.at(*at)) {
    layers.push_back(*at);
  }
  const UnionLayout* layout = union_layout(name);
  Explanation made;
  if (layout != nullptr) {
    SBENCH_TRY_SET(made, UnionSearch(*layout, root, parts).search(layers));
  } else {
    SBENCH_TRY_SET(made, explain_by_changes(driver, layers, parts));
  }
  SBENCH_TRY_SET(const auto there, stands_in_tree(driver, id, parts));
  if (there.has_value() && *there != made.answer.has_value()) {
    return plain_error(EIO, "by its layers {} {} in {} ({}), but the mounted tree says otherwise; the store may be damaged",
                       path, made.answer ? "exists" : "does not exist", id, made.reason);
  }
  return made;
}

}  // namespace sbench
