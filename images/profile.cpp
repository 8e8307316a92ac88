#include "images/profile.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "images/layer_scan.h"
#include "images/whole_number.h"

namespace sbench {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSampleBytesMax = 4 * kMiB;  ///< compressed of each area, to learn how well it does
constexpr std::uint64_t kAreaFilesMin = 12;          ///< smaller areas become part of the one above
constexpr std::size_t kAreaDepth = 4;

/// Names that say nothing about whose machine it was.
const std::set<std::string, std::less<>>& common_names() {
  static const std::set<std::string, std::less<>> names = {
      "aarch64-linux-gnu", "alternatives", "apt", "bash-completion", "bin", "boot", "build", "cache", "common-lisp",
      "config", "cron.d", "data", "dbconfig-common", "debconf", "default", "dev", "dist-packages", "doc", "dpkg", "etc",
      "factory", "flask", "fonts", "games", "gcc", "gconv", "home", "i18n", "icons", "include", "info", "init", "init.d",
      "ld.so.conf.d", "lib", "lib32", "lib64", "libexec", "libx32", "linux", "lists", "local", "locale", "log", "lost+found",
      "man", "media", "menu", "mime", "misc", "mnt", "mysql", "node_modules", "opt", "pam.d", "perl", "perl-base", "perl5",
      "pixmaps", "pkgconfig", "polkit-1", "postgresql", "postgresql-common", "proc", "profile.d", "python3", "python3.11",
      "python3.12", "python3.13", "rc0.d", "root", "run", "sbin", "security", "selinux", "share", "site-packages", "skel",
      "spool", "src", "srv", "ssl", "state", "sys", "systemd", "tabset", "terminfo", "tmp", "udev", "usr", "var", "venv",
      "www", "x86_64-linux-gnu", "xml", "zoneinfo", "zsh"};
  return names;
}

struct Gathered {
  AreaProfile profile;
  std::map<unsigned, SizeClass> sizes;
  std::uint64_t entries = 0;
  std::uint64_t sampled = 0;
  std::uint64_t packed = 0;
};

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::size_t levels_of(const std::string& folder) {
  return folder.empty() ? 0 : 1 + static_cast<std::size_t>(std::count(folder.begin(), folder.end(), '/'));
}

std::string first_levels(const std::string& folder, std::size_t levels) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < levels; ++i) {
    at = folder.find('/', at + (i > 0 ? 1 : 0));
    if (at == std::string::npos) {
      return folder;
    }
  }
  return levels == 0 ? "" : folder.substr(0, at);
}

/// Chooses the areas of a layer: folders near the root that hold enough.
std::set<std::string> choose_areas(const ScannedLayer& layer) {
  std::map<std::string, std::uint64_t> counts;
  for (const auto& entry : layer.entries) {
    if (!S_ISDIR(entry.mode)) {
      ++counts[first_levels(parent_of(entry.path), kAreaDepth)];
    }
  }
  std::set<std::string> areas = {""};
  for (std::size_t levels = kAreaDepth; levels > 0; --levels) {  // deepest first: small ones move up
    std::map<std::string, std::uint64_t> above;
    for (const auto& [folder, count] : counts) {
      if (levels_of(folder) < levels) {
        above[folder] += count;
      } else if (count >= kAreaFilesMin) {
        areas.insert(folder);
      } else {
        above[parent_of(folder)] += count;
      }
    }
    counts = std::move(above);
  }
  return areas;
}

/// Gathers the areas of one layer.
class LayerGatherer {
 public:
  LayerGatherer(const ScannedLayer& layer, const std::set<std::string>& lower_paths,
                std::set<std::pair<std::uint64_t, std::uint64_t>>& contents)
      : areas_(choose_areas(layer)), lower_(lower_paths), contents_(contents) {
    for (const auto& entry : layer.entries) {
      if (entry.path != ".") {
        add(entry);
      }
    }
    for (const auto& path : layer.deletions) {
      ++area(parent_of(path)).profile.deletions;
    }
    for (const auto& path : layer.opaques) {
      ++area(path).profile.deletions;
    }
  }

  /// The area of the regular file `path`, to count what its content packs to.
  Gathered& area(const std::string& folder) {
    std::string name = folder;
    while (!areas_.contains(name)) {
      name = parent_of(name);
    }
    return gathered_[name];
  }

  LayerProfile take(std::map<std::string, std::string>& pseudonyms) {
    LayerProfile layer;
    for (auto& [folder, each] : gathered_) {
      each.profile.folder = pseudonym(folder, pseudonyms);
      for (const auto& [number, size] : each.sizes) {
        each.profile.sizes.push_back(size);
      }
      if (each.sampled > 0) {
        const double saved = 1.0 - static_cast<double>(each.packed) / static_cast<double>(each.sampled);
        each.profile.compressible_percent = static_cast<unsigned>(std::lround(std::clamp(saved, 0.0, 1.0) * 100));
      }
      layer.areas.push_back(std::move(each.profile));
    }
    std::sort(layer.areas.begin(), layer.areas.end(),
              [](const auto& one, const auto& other) { return one.folder < other.folder; });
    return layer;
  }

 private:
  static std::string pseudonym(const std::string& folder, std::map<std::string, std::string>& pseudonyms) {
    std::string made;
    for (std::size_t at = 0; at < folder.size();) {
      const auto slash = std::min(folder.find('/', at), folder.size());
      const std::string name = folder.substr(at, slash - at);
      at = slash + 1;
      std::string shown = name;
      if (!common_names().contains(name)) {
        shown = pseudonyms.emplace(name, fmt::format("folder{}", pseudonyms.size() + 1)).first->second;
      }
      made += (made.empty() ? "" : "/") + shown;
    }
    return made;
  }

  static void count_at(std::vector<std::uint64_t>& counts, std::size_t level) {
    counts.resize(std::max(counts.size(), level + 1));
    ++counts[level];
  }

  void add(const ScannedEntry& entry) {
    const std::string parent = parent_of(entry.path);
    Gathered& to = area(parent);
    std::string name = parent;
    while (!areas_.contains(name)) {
      name = parent_of(name);
    }
    const std::size_t level = levels_of(parent) - levels_of(name);
    if (S_ISDIR(entry.mode)) {
      if (!areas_.contains(entry.path)) {
        count_at(to.profile.folders, level);
      } else {
        static_cast<void>(gathered_[entry.path]);  // an area without files directly in it
      }
      return;
    }
    ++to.entries;
    count_at(to.profile.files, level);
    if (lower_.contains(entry.path)) {
      ++to.profile.replaced;
    }
    if (!entry.hard_link_target.empty()) {
      ++to.profile.hard_links;
    } else if (S_ISLNK(entry.mode)) {
      ++to.profile.symlinks;
    } else if (S_ISREG(entry.mode)) {
      add_regular(to, entry);
    }
  }

  void add_regular(Gathered& to, const ScannedEntry& entry) {
    SizeClass& size = to.sizes[size_class_of(entry.size_bytes)];
    size.size_class = size_class_of(entry.size_bytes);
    ++size.files;
    size.bytes += entry.size_bytes;
    ++to.profile.modes[fmt::format("{:04o}", entry.mode & 07777)];
    ++to.profile.owners[fmt::format("{}:{}", entry.uid, entry.gid)];
    if (entry.size_bytes > 0 && !contents_.insert({entry.size_bytes, entry.content_hash}).second) {
      ++to.profile.duplicates;
    }
  }

  std::set<std::string> areas_;
  const std::set<std::string>& lower_;
  std::set<std::pair<std::uint64_t, std::uint64_t>>& contents_;
  std::map<std::string, Gathered> gathered_;
};

/// How well the start of each area's content packs.
Status measure_packing(const ScannedLayer& layer, std::span<const std::byte> content, LayerGatherer& gatherer) {
  std::map<Gathered*, std::string> samples;
  std::uint64_t at = 0;
  for (const auto& entry : layer.entries) {
    if (!S_ISREG(entry.mode) || !entry.hard_link_target.empty()) {
      continue;
    }
    const auto bytes = content.subspan(at, entry.size_bytes);
    at += entry.size_bytes;
    std::string& sample = samples[&gatherer.area(parent_of(entry.path))];
    if (sample.size() < kSampleBytesMax) {
      sample.append(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 256 * kKiB));
    }
  }
  for (auto& [area, sample] : samples) {
    CountingSink packed;
    PackingSink packing(packed, Compression::zstd);
    SBENCH_TRY(packing.write(std::as_bytes(std::span(sample.data(), sample.size()))));
    SBENCH_TRY(packing.finish());
    area->sampled = sample.size();
    area->packed = packed.bytes();
  }
  return {};
}

json area_json(const AreaProfile& area) {
  json sizes = json::array();
  for (const auto& size : area.sizes) {
    sizes.push_back({size.size_class, size.files, size.bytes});
  }
  json value = {{"folder", area.folder}, {"sizes", sizes}, {"files", area.files}, {"folders", area.folders},
                {"packs", area.compressible_percent}, {"modes", area.modes}, {"owners", area.owners}};
  const auto add = [&](const char* name, std::uint64_t count) {
    if (count > 0) {
      value[name] = count;
    }
  };
  add("symlinks", area.symlinks);
  add("hard_links", area.hard_links);
  add("duplicates", area.duplicates);
  add("replaced", area.replaced);
  add("deletions", area.deletions);
  return value;
}

/// Counts as big as no image has them would make the generator run out of memory.
constexpr std::uint64_t kCountMax = 10'000'000;
constexpr std::size_t kLevelsMax = 64;

std::uint64_t count_of(const json& value) {
  return whole_number(value, "a count", kCountMax);
}

std::map<std::string, std::uint64_t> counts_by_name(const json& values) {
  std::map<std::string, std::uint64_t> counts;
  for (const auto& [name, value] : values.get_ref<const json::object_t&>()) {
    counts.emplace(name, count_of(value));
  }
  return counts;
}

std::vector<std::uint64_t> counts_of(const json& values) {
  std::vector<std::uint64_t> counts;
  for (const auto& value : values) {
    counts.push_back(count_of(value));
  }
  if (counts.size() > kLevelsMax) {
    throw json::other_error::create(501, "folders too deep", &values);
  }
  return counts;
}

AreaProfile area_of(const json& value) {
  AreaProfile area;
  value.at("folder").get_to(area.folder);
  for (const auto& row : value.at("sizes")) {
    SizeClass size;
    size.size_class = static_cast<unsigned>(count_of(row.at(0)));
    size.files = count_of(row.at(1));
    size.bytes = whole_number(row.at(2), "a size");
    if (size.files == 0 || size.bytes / size.files > 64 * kGiB) {
      throw json::other_error::create(501, "a size is out of range", &row);
    }
    area.sizes.push_back(size);
  }
  area.files = counts_of(value.at("files"));
  area.folders = counts_of(value.at("folders"));
  area.compressible_percent = static_cast<unsigned>(std::min<std::uint64_t>(100, count_of(value.at("packs"))));
  area.modes = counts_by_name(value.at("modes"));
  area.owners = counts_by_name(value.at("owners"));
  const auto get = [&](const char* name) { return value.contains(name) ? count_of(value.at(name)) : 0; };
  area.symlinks = get("symlinks");
  area.hard_links = get("hard_links");
  area.duplicates = get("duplicates");
  area.replaced = get("replaced");
  area.deletions = get("deletions");
  const bool climbs = area.folder.find("..") != std::string::npos || area.folder.starts_with('/');
  if (climbs || area.folder.size() > 1000) {
    throw json::other_error::create(501, "a folder's name leads out of the image", &value);
  }
  return area;
}

}  // namespace

unsigned size_class_of(std::uint64_t size_bytes) {
  return size_bytes == 0 ? 0 : 1 + static_cast<unsigned>(std::floor(2.0 * std::log2(static_cast<double>(size_bytes))));
}

Result<ImageProfile> profile_image(const Image& image) {
  ImageProfile profile;
  profile.name = image.name;
  profile.made_from = image.kind;
  std::set<std::string> lower;
  std::set<std::pair<std::uint64_t, std::uint64_t>> contents;
  std::map<std::string, std::string> pseudonyms;
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    const std::string shown = fmt::format("{}: layer {} of {}", image.source, i + 1, image.layers.size());
    SBENCH_TRY_SET(const auto tar, image.layers[i].tar->map());
    SBENCH_TRY_SET(const auto content, MemoryFile::make("sbench image content"));
    SBENCH_TRY_SET(const ScannedLayer layer, scan_layer(tar, shown, content.get()));
    LayerGatherer gatherer(layer, lower, contents);
    SBENCH_TRY_SET(const auto bytes, content->map());
    SBENCH_TRY(measure_packing(layer, bytes, gatherer));
    profile.layers.push_back(gatherer.take(pseudonyms));
    for (const auto& entry : layer.entries) {
      if (!S_ISDIR(entry.mode)) {
        lower.insert(entry.path);
      }
    }
  }
  return profile;
}

std::string profile_text(const ImageProfile& profile) {
  std::string text = fmt::format("{{\"schema\": \"sbench.profile\", \"version\": 1, \"name\": {}, \"made_from\": {}, "
                                 "\"layers\": [\n", json(profile.name).dump(), json(profile.made_from).dump());
  for (std::size_t i = 0; i < profile.layers.size(); ++i) {
    text += " [\n";
    const auto& areas = profile.layers[i].areas;
    for (std::size_t k = 0; k < areas.size(); ++k) {
      text += "  " + area_json(areas[k]).dump() + (k + 1 < areas.size() ? ",\n" : "\n");
    }
    text += i + 1 < profile.layers.size() ? " ],\n" : " ]\n";
  }
  return text + "]}\n";
}

Result<ImageProfile> parse_profile_text(const std::string& text, const std::string& shown) {
  try {
    const json value = json::parse(text);
    if (value.at("schema") != "sbench.profile" || value.at("version") != 1) {
      return plain_error(EINVAL, "{} is no sbench.profile of version 1", shown);
    }
    ImageProfile profile;
    value.at("name").get_to(profile.name);
    value.at("made_from").get_to(profile.made_from);
    for (const auto& areas : value.at("layers")) {
      LayerProfile layer;
      for (const auto& area : areas) {
        layer.areas.push_back(area_of(area));
      }
      profile.layers.push_back(std::move(layer));
    }
    if (profile.layers.empty()) {
      return plain_error(EINVAL, "{}: the profile has no layers", shown);
    }
    return profile;
  } catch (const json::parse_error& error) {
    return plain_error(EINVAL, "{} is not valid JSON (byte {})", shown, error.byte);
  } catch (const json::exception& error) {
    return plain_error(EINVAL, "{} is no image profile: {}", shown, error.what());
  }
}

}  // namespace sbench
