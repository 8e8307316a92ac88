#include "workloads/content/profile_image.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "workloads/content/image_builder.h"

namespace sbench {
namespace {

/// The text "0644" or "0:42" as numbers; 0 where it is none.
std::uint32_t number_of(std::string_view text, int base) {
  std::uint32_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, base);
  return number;
}

/// Each key as often as it is counted, in a random order.
std::vector<std::string> drawn(const std::map<std::string, std::uint64_t>& counts, std::uint64_t wanted, Rng& rng) {
  std::vector<std::string> all;
  for (const auto& [key, count] : counts) {
    all.insert(all.end(), std::min<std::uint64_t>(count, wanted - std::min<std::uint64_t>(wanted, all.size())), key);
  }
  rng.shuffle(all);
  return all;
}

/// Makes the files of one area.
class AreaFiller {
 public:
  AreaFiller(const AreaProfile& area, const MergedImage& below, ImageBuilder& builder)
      : area_(area), below_(below), builder_(builder), rng_(builder.rng()) {}

  void fill() {
    make_folders();
    choose_lower_files();
    make_regular_files();
    make_links();
    for (std::uint64_t i = 0; i < area_.deletions && !lower_.empty(); ++i) {
      builder_.remove(take_lower());
    }
  }

 private:
  [[nodiscard]] std::string in_area(const std::string& name) const {
    return area_.folder.empty() ? name : area_.folder + "/" + name;
  }

  void make_folders() {
    if (!area_.folder.empty()) {
      builder_.add_folder(area_.folder, area_.folder == "tmp" || area_.folder == "var/tmp" ? 01777 : 0755);
    }
    levels_.push_back({area_.folder});
    // A layer may hold files in folders that it does not list.
    const std::size_t deepest = std::max(area_.folders.size(), area_.files.empty() ? 0 : area_.files.size() - 1);
    for (std::size_t level = 0; level < deepest; ++level) {
      std::vector<std::string> made;
      const std::uint64_t count = level < area_.folders.size() ? area_.folders[level] : 0;
      for (std::uint64_t i = 0; i < std::max<std::uint64_t>(1, count); ++i) {
        const std::string& above = levels_.back()[rng_.below(levels_.back().size())];
        const std::string name = fmt::format("folder-{:05x}{}", rng_.below(1 << 20), i);
        made.push_back(above.empty() ? name : fmt::format("{}/{}", above, name));
        builder_.add_folder(made.back());
      }
      levels_.push_back(std::move(made));
    }
    for (std::size_t level = 0; level < area_.files.size(); ++level) {
      places_.insert(places_.end(), area_.files[level], std::min(level, levels_.size() - 1));
    }
    rng_.shuffle(places_);
  }

  /// Files of layers below that can be replaced or deleted here.
  void choose_lower_files() {
    if (area_.replaced + area_.deletions == 0) {
      return;
    }
    const std::string prefix = in_area("");
    for (auto it = below_.lower_bound(prefix); it != below_.end() && it->first.starts_with(prefix); ++it) {
      if (S_ISREG(it->second->mode) && it->second->hard_link_target.empty()) {
        lower_.push_back(it->first);
      }
    }
    rng_.shuffle(lower_);
  }

  std::string take_lower() {
    std::string path = std::move(lower_.back());
    lower_.pop_back();
    return path;
  }

  /// A new path in the folder level that the next file belongs to.
  std::string next_path(const char* kind) {
    const std::size_t level = places_.empty() ? 0 : places_.back();
    if (!places_.empty()) {
      places_.pop_back();
    }
    const std::string& folder = levels_[level][rng_.below(levels_[level].size())];
    const std::string name = fmt::format("{}-{:06x}{}", kind, rng_.below(1 << 24), serial_++);
    return folder.empty() ? name : folder + "/" + name;
  }

  void make_regular_files() {
    std::uint64_t count = 0;
    for (const auto& size : area_.sizes) {
      count += size.files;
    }
    std::vector<std::string> modes = drawn(area_.modes, count, rng_);
    std::vector<std::string> owners = drawn(area_.owners, count, rng_);
    std::uint64_t replaced = area_.replaced;
    std::uint64_t duplicates = area_.duplicates;
    for (const auto& size : area_.sizes) {
      std::optional<std::uint64_t> twin;
      for (std::uint64_t i = 0; i < size.files; ++i) {
        const bool replaces = replaced > 0 && !lower_.empty();
        replaced -= replaces ? 1 : 0;
        const std::string path = replaces ? take_lower() : next_path("file");
        // All of a class are equally long but for the remainder: half an octave holds no more detail.
        ImageEntry& made = builder_.add_file(path, size.bytes / size.files + (i < size.bytes % size.files ? 1 : 0));
        made.compressible_percent = std::min(90U, area_.compressible_percent);
        if (!modes.empty()) {
          made.mode = S_IFREG | number_of(modes.back(), 8);
          modes.pop_back();
        }
        if (!owners.empty()) {
          made.uid = number_of(owners.back(), 10);
          made.gid = number_of(std::string_view(owners.back()).substr(owners.back().find(':') + 1), 10);
          owners.pop_back();
        }
        if (twin.has_value() && duplicates > 0 && made.size_bytes > 0) {
          made.content_seed = *twin;
          --duplicates;
        }
        twin = made.content_seed;
        regular_.push_back(path);
      }
    }
  }

  void make_links() {
    for (std::uint64_t i = 0; i < area_.symlinks; ++i) {
      const std::string target = regular_.empty() ? "nowhere" : "/" + regular_[rng_.below(regular_.size())];
      builder_.add_symlink(next_path("link"), target);
    }
    for (std::uint64_t i = 0; i < area_.hard_links && !regular_.empty(); ++i) {
      const std::string& target = regular_[rng_.below(regular_.size())];
      builder_.add_hard_link(target + fmt::format("-same{}", i), target);
      if (!places_.empty()) {
        places_.pop_back();
      }
    }
  }

  const AreaProfile& area_;
  const MergedImage& below_;
  ImageBuilder& builder_;
  Rng& rng_;
  std::vector<std::vector<std::string>> levels_;  ///< folders by how far below the area's they are
  std::vector<std::size_t> places_;               ///< levels of the files to come
  std::vector<std::string> lower_;
  std::vector<std::string> regular_;
  std::uint64_t serial_ = 0;
};

}  // namespace

ImageLayer profile_layer(const LayerProfile& profile, const MergedImage& below, const LayerSpec& spec) {
  ImageBuilder builder({.seed = spec.seed, .scale = spec.scale, .step = spec.step, .revision = spec.level});
  for (const auto& area : profile.areas) {
    AreaFiller(area, below, builder).fill();
  }
  ImageLayer layer = builder.finish(below);
  layer.spec = spec;
  return layer;
}

}  // namespace sbench
