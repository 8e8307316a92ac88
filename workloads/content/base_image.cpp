#include "workloads/content/base_image.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/units.h"
#include "images/image.h"
#include "images/layer_scan.h"
#include "images/profile.h"
#include "workloads/content/profile_image.h"

namespace sbench {
namespace {

constexpr std::uint64_t kProbeBytesMax = kMiB;
constexpr int kLinksMax = 40;

/// Folders that generated layers and fixtures use; an image may lack them or have them as folders.
constexpr const char* kUsedFolders[] = {"usr/bin",         "usr/lib/x86_64-linux-gnu", "usr/lib/python3", "usr/include",
                                        "usr/share/doc",   "var/lib/dpkg/info",        "var/lib/apt",     "var/log",
                                        "var/cache/apt",   "etc",                      "opt/venv",        "srv/app",
                                        "data",            "probe",                    "tree",            "stack"};
/// Below these, generated layers replace or delete files.
constexpr const char* kTouched[] = {"var/", "etc/", "usr/share/locale/", "usr/lib/x86_64-linux-gnu/gconv/"};

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

/// One layer's entries from its scanned tar.
class LayerConverter {
 public:
  LayerConverter(const MergedImage& below, std::string shown) : below_(below), shown_(std::move(shown)) {}

  Result<ImageLayer> convert(ScannedLayer scanned, std::span<const std::byte> content) {
    for (auto& entry : scanned.entries) {
      if (entry.path == ".") {
        continue;  // the root's own metadata is no part of the model
      }
      SBENCH_TRY_SET(std::string path, resolve(entry.path));
      SBENCH_TRY(add(std::move(path), entry, content));
    }
    ImageLayer layer;
    for (const auto& path : scanned.deletions) {
      SBENCH_TRY_SET(std::string resolved, resolve(path));
      layer.deletions.push_back(std::move(resolved));
    }
    for (const auto& path : scanned.opaques) {
      SBENCH_TRY_SET(std::string resolved, resolve(path + "/x"));
      layer.opaques.push_back(parent_of(resolved));
    }
    add_folders(layer);
    std::sort(layer.deletions.begin(), layer.deletions.end());
    for (auto& [path, entry] : entries_) {
      if (S_ISREG(entry.mode) && entry.hard_link_target.empty()) {
        layer.content_bytes += entry.size_bytes;
        ++layer.regular_files;
      }
      layer.entries.push_back(std::move(entry));
    }
    return layer;
  }

 private:
  /// Where `path` lands: links of this layer in front of it are followed as unpacking does.
  Result<std::string> resolve(const std::string& path) const {
    std::string resolved;
    std::string rest = path;
    for (int links = 0; links < kLinksMax;) {
      const auto slash = rest.find('/');
      std::string step = resolved.empty() ? rest.substr(0, slash) : resolved + "/" + rest.substr(0, slash);
      if (slash == std::string::npos) {
        return step;
      }
      rest.erase(0, slash + 1);
      const auto own = entries_.find(step);
      const auto lower = below_.find(step);
      const ImageEntry* const there = own != entries_.end()     ? &own->second
                                      : lower != below_.end() ? lower->second
                                                              : nullptr;
      if (there == nullptr || S_ISDIR(there->mode)) {
        resolved = step;
        continue;
      }
      if (own == entries_.end() || !S_ISLNK(there->mode)) {
        return plain_error(EINVAL, "{}: {} lies below {}, which is no directory in a layer further down; storage "
                           "drivers differ on what that means", shown_, path, step);
      }
      ++links;
      SBENCH_TRY_SET(const std::string target, lexical(there->link_target.starts_with('/') ? "" : parent_of(step), there->link_target));
      if (!is_there(target)) {
        return plain_error(EINVAL, "{}: {} lies below {}, a link that leads to no directory", shown_, path, step);
      }
      rest.insert(0, there->link_target + "/");
      if (rest.front() == '/') {
        resolved.clear();
      }
      SBENCH_TRY_SET(rest, lexical(resolved, rest));
      resolved.clear();
    }
    return plain_error(ELOOP, "{}: too many links at {}", shown_, path);
  }

  /// Whether this layer so far, or one below, has something at `path` or under it.
  [[nodiscard]] bool is_there(const std::string& path) const {
    const auto under = entries_.lower_bound(path + "/");
    return path.empty() || entries_.contains(path) || below_.contains(path) ||
           (under != entries_.end() && under->first.starts_with(path + "/"));
  }

  /// `rest` seen from `folder`, without "." and ".."; ".." stops at the root.
  static Result<std::string> lexical(const std::string& folder, const std::string& rest) {
    std::vector<std::string> parts;
    std::string all = folder + "/" + rest;
    for (std::size_t at = 0; at < all.size();) {
      const auto slash = std::min(all.find('/', at), all.size());
      const std::string part = all.substr(at, slash - at);
      at = slash + 1;
      if (part == "..") {
        if (!parts.empty()) {
          parts.pop_back();
        }
      } else if (!part.empty() && part != ".") {
        parts.push_back(part);
      }
    }
    std::string joined;
    for (const auto& part : parts) {
      joined += (joined.empty() ? "" : "/") + part;
    }
    return joined;
  }

  Status add(std::string path, ScannedEntry& from, std::span<const std::byte> content) {
    ImageEntry made;
    if (!from.hard_link_target.empty()) {
      SBENCH_TRY_SET(const std::string target, resolve(from.hard_link_target));
      const auto found = entries_.find(target);
      if (found == entries_.end()) {
        return plain_error(EINVAL, "{}: {} is a hard link to {}, which this layer does not hold before it", shown_, path,
                           from.hard_link_target);
      }
      if (target == path) {
        return {};
      }
      made = found->second;
      made.hard_link_target = made.hard_link_target.empty() ? target : made.hard_link_target;
    } else {
      made.mode = from.mode;
      made.uid = from.uid;
      made.gid = from.gid;
      made.size_bytes = S_ISREG(from.mode) ? from.size_bytes : 0;
      made.mtime_ns = from.mtime_ns;
      made.device_number = from.device_number;
      made.link_target = std::move(from.link_target);
      made.xattrs = std::move(from.xattrs);
      made.content = content.subspan(at_, made.size_bytes);
      at_ += made.size_bytes;
    }
    made.path = path;
    if (!S_ISDIR(made.mode)) {
      entries_.erase(entries_.lower_bound(path + "/"), entries_.lower_bound(path + "0"));  // '0' follows '/'
    }
    entries_.insert_or_assign(std::move(path), std::move(made));
    return {};
  }

  /// Folders above what changes that this layer does not list: union drivers make them anew in its branch.
  void add_folders(const ImageLayer& layer) {
    std::vector<std::string> changed = layer.deletions;
    for (const auto& path : layer.opaques) {
      changed.push_back(path + "/x");
    }
    for (const auto& [path, entry] : entries_) {
      changed.push_back(path);
    }
    for (const auto& path : changed) {
      for (std::string folder = parent_of(path); !folder.empty(); folder = parent_of(folder)) {
        if (entries_.contains(folder)) {
          continue;
        }
        ImageEntry made;
        if (const auto lower = below_.find(folder); lower != below_.end()) {
          made = *lower->second;
        } else {
          made.path = folder;
          made.mode = S_IFDIR | 0755;
        }
        made.time_known = false;
        entries_.emplace(folder, std::move(made));
      }
    }
  }

  const MergedImage& below_;
  std::string shown_;
  std::map<std::string, ImageEntry> entries_;
  std::uint64_t at_ = 0;
};

std::string slug_of(const std::string& name) {
  std::string slug;
  for (const char c : name.substr(name.rfind('/') + 1)) {
    const auto lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    slug += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-' ? lower : '.';
  }
  return slug.empty() ? "image" : slug.substr(0, 40);
}

Status check_folders(const MergedImage& merged, const std::string& source) {
  for (const std::string folder : kUsedFolders) {
    for (auto slash = folder.find('/');; slash = folder.find('/', slash + 1)) {
      const std::string part = folder.substr(0, slash);
      const auto found = merged.find(part);
      if (found != merged.end() && !S_ISDIR(found->second->mode)) {
        return plain_error(EINVAL, "{}: {} is no directory there, so generated layers cannot be put on this image",
                           source, part);
      }
      if (slash == std::string::npos) {
        break;
      }
    }
  }
  return {};
}

Result<std::string> choose_probe(const MergedImage& merged, const std::string& source) {
  const ImageEntry* best = nullptr;
  for (const auto& [path, entry] : merged) {
    const auto touched = [&path = path](const char* prefix) { return path.starts_with(prefix); };
    if (!S_ISREG(entry->mode) || entry->size_bytes == 0 || entry->size_bytes > kProbeBytesMax ||
        std::any_of(std::begin(kTouched), std::end(kTouched), touched)) {
      continue;
    }
    if (best == nullptr || entry->size_bytes > best->size_bytes) {
      best = entry;
    }
  }
  if (best == nullptr) {
    return plain_error(EINVAL, "{}: no file of at most 1 MiB outside /etc and /var to prove cold caches on", source);
  }
  return best->path;
}

Status load_profile(BaseImage& made, const std::string& file, std::uint64_t seed) {
  SBENCH_TRY_SET(const std::string text, read_text(file));
  SBENCH_TRY_SET(const ImageProfile profile, parse_profile_text(text, file));
  made.slug = slug_of(profile.name);
  made.kind = "profile";
  made.digest = "sha256:" + sha256_hex(text);
  for (std::size_t i = 0; i < profile.layers.size(); ++i) {
    const LayerSpec spec{.seed = seed, .image = &made, .level = static_cast<unsigned>(i)};
    made.layers.push_back(std::make_unique<const ImageLayer>(
        profile_layer(profile.layers[i], merge_layers(made.all_layers()), spec)));
    made.tars.push_back(nullptr);
  }
  return {};
}

Status load_real(BaseImage& made, const std::string& platform) {
  // Tars and their content are kept, each as large as the image: together half of the free memory.
  SBENCH_TRY_SET(const Image image, load_image({made.source, platform, {.memory_parts = 4}}));
  std::uint64_t holes_left = kGiB;  // of all layers: content that the tars do not hold
  made.slug = slug_of(image.name);
  made.kind = image.kind;
  made.platform = image.platform;
  made.digest = image.digest;
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    const std::string shown = fmt::format("{}: layer {} of {} ({})", made.source, i + 1, image.layers.size(),
                                          image.layers[i].diff_id);
    // A layer that comes again has the same content: a small image of a thousand times one layer does not fill the memory.
    const auto same = std::find(made.tars.begin(), made.tars.end(), image.layers[i].tar);
    std::shared_ptr<MemoryFile> content;
    if (same != made.tars.end()) {
      content = made.contents[static_cast<std::size_t>(same - made.tars.begin())];
    } else {
      SBENCH_TRY_SET(content, MemoryFile::make("sbench image content"));
    }
    SBENCH_TRY_SET(const auto tar, image.layers[i].tar->map());
    SBENCH_TRY_SET(ScannedLayer scanned, scan_layer(tar, shown, same == made.tars.end() ? content.get() : nullptr, kLayerEntriesMax, holes_left));
    const std::uint64_t holes = same != made.tars.end() ? 0 : scanned.content_bytes - std::min<std::uint64_t>(scanned.content_bytes, tar.size());
    holes_left -= std::min(holes_left, holes);
    SBENCH_TRY_SET(const auto bytes, content->map());
    const MergedImage below = merge_layers(made.all_layers());
    SBENCH_TRY_SET(ImageLayer layer, LayerConverter(below, shown).convert(std::move(scanned), bytes));
    layer.spec = LayerSpec{.image = &made, .level = static_cast<unsigned>(i)};
    made.layers.push_back(std::make_unique<const ImageLayer>(std::move(layer)));
    made.tars.push_back(image.layers[i].tar);
    made.contents.push_back(std::move(content));
  }
  return {};
}

}  // namespace

std::vector<const ImageLayer*> BaseImage::all_layers() const {
  std::vector<const ImageLayer*> all;
  for (const auto& layer : layers) {
    all.push_back(layer.get());
  }
  return all;
}

Result<std::shared_ptr<const BaseImage>> load_base_image(const std::string& source, const std::string& platform,
                                                         std::uint64_t seed) {
  constexpr std::string_view kProfile = "profile:";
  const auto made = std::make_shared<BaseImage>();
  made->source = source;
  SBENCH_TRY(source.starts_with(kProfile) ? load_profile(*made, source.substr(kProfile.size()), seed)
                                          : load_real(*made, platform));
  const MergedImage merged = merge_layers(made->all_layers());
  SBENCH_TRY(check_folders(merged, source));
  SBENCH_TRY_SET(made->probe_path, choose_probe(merged, source));
  return std::shared_ptr<const BaseImage>(made);
}

}  // namespace sbench
