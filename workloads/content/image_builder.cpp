#include "workloads/content/image_builder.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>

#include "drivers/base/check.h"
#include "drivers/base/hash.h"
#include "drivers/base/user_namespace.h"

namespace sbench {
namespace {

constexpr std::int64_t kEpochS = 1'650'000'000;  // April 2022; all mtimes lie within two years of it
constexpr std::int64_t kSpanS = 60'000'000;
constexpr unsigned kEmptyPermille = 20;  // __init__.py and the like

std::uint64_t text_hash(const std::string& text, std::uint64_t seed) {
  return xxh3(std::as_bytes(std::span(text.data(), text.size())), seed);
}

/// Folder modes depend on the path alone, so that layers agree about them.
std::uint32_t folder_mode(const std::string& path) {
  if (path == "tmp" || path == "var/tmp") {
    return 01777;
  }
  return path == "root" ? 0700 : 0755;
}

}  // namespace

ImageBuilder::ImageBuilder(const LayerSpec& spec)
    : spec_(spec),
      rng_(spec.seed, fmt::format("image/{}/{}/{}", to_string(spec.scale), to_string(spec.step), spec.revision)) {}

ImageEntry& ImageBuilder::entry(const std::string& path, std::uint32_t mode) {
  SBENCH_CHECK(!path.empty() && path.front() != '/' && path.back() != '/');
  auto& made = entries_[path];
  made.path = path;
  made.mode = mode;
  const std::uint64_t hash =
      text_hash(path, spec_.seed + static_cast<std::uint64_t>(spec_.step) * 1000 + spec_.revision);
  made.content_seed = hash;
  const auto seconds = kEpochS + static_cast<std::int64_t>(hash % kSpanS);
  made.mtime_ns = seconds * 1'000'000'000 + static_cast<std::int64_t>((hash >> 32) % 1'000'000'000);
  return made;
}

ImageEntry& ImageBuilder::add_file(const std::string& path, std::uint64_t size_bytes, std::uint32_t mode) {
  auto& made = entry(path, S_IFREG | mode);
  made.size_bytes = size_bytes;
  return made;
}

void ImageBuilder::add_folder(const std::string& path, std::uint32_t mode) { entry(path, S_IFDIR | mode); }

void ImageBuilder::add_symlink(const std::string& path, const std::string& target) {
  entry(path, S_IFLNK | 0777).link_target = target;
}

void ImageBuilder::add_hard_link(const std::string& path, const std::string& target) {
  const auto found = entries_.find(target);
  SBENCH_CHECK(found != entries_.end() && S_ISREG(found->second.mode) && target < path);
  ImageEntry link = found->second;
  link.path = path;
  link.hard_link_target = target;
  entries_[path] = link;
}

void ImageBuilder::remove(const std::string& path) { deletions_.push_back(path); }

std::string ImageBuilder::word(std::size_t syllables) {
  static constexpr const char* kSyllables[] = {"ba", "co", "di", "fe", "gu", "la",  "mo",  "ni",  "pe",  "ru",
                                               "sa", "te", "vi", "xo", "za", "con", "lib", "net", "sys", "py"};
  std::string made;
  for (std::size_t i = 0; i < syllables; ++i) {
    made += kSyllables[rng_.below(std::size(kSyllables))];
  }
  return made;
}

std::vector<std::string> ImageBuilder::place_files(const Area& area, std::uint64_t count) {
  std::vector<std::string> folders = {area.folder};
  if (area.files_per_folder > 0) {
    const std::uint64_t wanted = std::max<std::uint64_t>(1, count / area.files_per_folder);
    while (folders.size() <= wanted) {
      // A new folder below the top one or below an earlier one: depths vary up to folder_depth.
      const std::string& above = folders[area.folder_depth > 1 ? rng_.below(folders.size()) : 0];
      const auto levels =
          std::count(above.begin(), above.end(), '/') - std::count(folders.front().begin(), folders.front().end(), '/');
      if (static_cast<unsigned>(levels) < area.folder_depth) {
        folders.push_back(fmt::format("{}/{}{}", above, word(2), folders.size()));
      }
    }
    folders.erase(folders.begin());
  }
  std::vector<std::string> paths;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto& folder = folders[rng_.below(folders.size())];
    paths.push_back(fmt::format("{}/{}{}{}", folder, word(1 + rng_.below(3)), i, area.suffix));
  }
  return paths;
}

std::vector<std::string> ImageBuilder::fill_areas(const std::vector<Area>& areas, std::uint64_t files,
                                                  std::uint64_t bytes) {
  struct Planned {
    std::string path;
    const Area* area;
    double size;
  };
  std::vector<Planned> planned;
  double total = 0;
  for (const auto& area : areas) {
    const std::uint64_t count = std::max<std::uint64_t>(1, (files * area.share_permille + 500) / 1000);
    for (auto& path : place_files(area, count)) {
      const double normal = std::clamp(rng_.normal(), -3.0, 3.0);  // no single file decides the total
      const double size = rng_.below(1000) < kEmptyPermille ? 0.0 : area.median_bytes * std::exp(area.sigma * normal);
      total += size;
      planned.push_back({std::move(path), &area, size});
    }
  }
  std::vector<std::string> paths;
  for (auto& each : planned) {
    const auto size = static_cast<std::uint64_t>(each.size * static_cast<double>(bytes) / total);
    auto& made = add_file(each.path, size, each.area->mode);
    const int spread = static_cast<int>(rng_.below(3)) * 12 - 12;  // files of one area differ a little
    made.compressible_percent =
        static_cast<unsigned>(std::clamp(static_cast<int>(each.area->compressible_percent) + spread, 0, 90));
    paths.push_back(std::move(each.path));
  }
  return paths;
}

void ImageBuilder::add_ancestors(const std::string& path, const MergedImage& below) {
  for (auto slash = path.rfind('/'); slash != std::string::npos && slash > 0; slash = path.rfind('/', slash - 1)) {
    const std::string folder = path.substr(0, slash);
    if (entries_.contains(folder)) {
      continue;
    }
    add_folder(folder, folder_mode(folder));
    if (const auto there = below.find(folder); there != below.end()) {
      ImageEntry& made = entries_[folder];
      made.mode = there->second->mode;
      made.uid = there->second->uid;
      made.gid = there->second->gid;
      made.xattrs = there->second->xattrs;
    }
  }
}

ImageLayer ImageBuilder::finish(const MergedImage& below) {
  std::vector<std::string> paths = deletions_;
  for (const auto& [path, each] : entries_) {
    paths.push_back(path);
  }
  for (const auto& path : paths) {
    add_ancestors(path, below);
  }
  ImageLayer layer;
  layer.spec = spec_;
  layer.deletions = std::move(deletions_);
  std::sort(layer.deletions.begin(), layer.deletions.end());
  const bool owners = may_give_files_away();
  for (auto& [path, each] : entries_) {
    if (!owners) {  // a user namespace with one user: all is root's, for every driver alike
      each.uid = each.gid = 0;
    }
    if (S_ISREG(each.mode) && each.hard_link_target.empty()) {
      layer.content_bytes += each.size_bytes;
      ++layer.regular_files;
    }
    layer.entries.push_back(std::move(each));
  }
  return layer;
}

}  // namespace sbench
