#include "images/inspect.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

namespace sbench {
namespace {

std::uint64_t depth_of(const std::string& path) {
  return 1 + static_cast<std::uint64_t>(std::count(path.begin(), path.end(), '/'));
}

/// Follows which files are still seen from above.
class Inspector {
 public:
  void add(const StoredLayer& stored, const ScannedLayer& layer) {
    LayerFacts facts;
    facts.diff_id = stored.diff_id;
    facts.compression = stored.compression;
    facts.bytes_stored = stored.bytes_stored;
    facts.bytes_tar = stored.tar->size_bytes();
    facts.bytes_content = layer.content_bytes;
    facts.deletions = layer.deletions.size() + layer.opaques.size();
    for (const auto& path : layer.deletions) {
      visible_.erase(path);
      hide_below(path);
    }
    for (const auto& path : layer.opaques) {
      hide_below(path);
    }
    std::map<std::string, std::uint64_t> own;
    for (const auto& entry : layer.entries) {
      if (entry.path != ".") {
        add_entry(entry, facts, own);
      }
    }
    for (const auto& [path, bytes] : own) {
      visible_[path] = bytes;
    }
    facts_.layers.push_back(std::move(facts));
  }

  ImageFacts take() {
    std::uint64_t visible = 0;
    for (const auto& [path, bytes] : visible_) {
      visible += bytes;
    }
    facts_.bytes_hidden = facts_.bytes - std::min(facts_.bytes, visible);
    facts_.depth_mean = facts_.files == 0 ? 0 : static_cast<double>(depths_) / static_cast<double>(facts_.files);
    return std::move(facts_);
  }

 private:
  void hide_below(const std::string& path) {
    visible_.erase(visible_.lower_bound(path + "/"), visible_.lower_bound(path + "0"));  // '0' follows '/'
  }

  void add_entry(const ScannedEntry& entry, LayerFacts& facts, std::map<std::string, std::uint64_t>& own) {
    facts_.depth_max = std::max(facts_.depth_max, depth_of(entry.path));
    if (!S_ISDIR(entry.mode) && visible_.contains(entry.path)) {
      ++facts.replaced;
    }
    if (!entry.hard_link_target.empty()) {
      ++facts.hard_links;
    } else if (S_ISREG(entry.mode)) {
      ++facts.files;
      ++facts_.files;
      facts_.bytes += entry.size_bytes;
      depths_ += depth_of(entry.path);
      facts_.sizes.add(entry.size_bytes);
      if (entry.size_bytes > 0 && !contents_.insert({entry.size_bytes, entry.content_hash}).second) {
        ++facts_.files_duplicate;
        facts_.bytes_duplicate += entry.size_bytes;
      }
      own[entry.path] = entry.size_bytes;
    } else if (S_ISDIR(entry.mode)) {
      ++facts.folders;
    } else if (S_ISLNK(entry.mode)) {
      ++facts.symlinks;
    } else {
      ++facts.others;
    }
  }

  ImageFacts facts_;
  std::uint64_t depths_ = 0;
  std::map<std::string, std::uint64_t> visible_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> contents_;
};

std::string size_text(std::uint64_t bytes) { return human_size(static_cast<double>(bytes)); }

std::string bucket_text(std::size_t bucket) {
  return bucket == 0 ? "empty" : "< " + human_size(static_cast<double>(std::uint64_t{1} << bucket));
}

}  // namespace

std::size_t SizeHistogram::bucket_of(std::uint64_t size_bytes) {
  return std::min<std::size_t>(std::bit_width(size_bytes), kBuckets - 1);
}

Result<ImageFacts> inspect_image(const Image& image, std::vector<ScannedLayer>* scanned) {
  Inspector inspector;
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    SBENCH_TRY_SET(const auto tar, image.layers[i].tar->map());
    SBENCH_TRY_SET(ScannedLayer layer, scan_layer(tar, fmt::format("{}: layer {} of {} ({})", image.source, i + 1,
                                                                   image.layers.size(), image.layers[i].diff_id)));
    inspector.add(image.layers[i], layer);
    if (scanned != nullptr) {
      scanned->push_back(std::move(layer));
    }
  }
  return inspector.take();
}

std::string describe(const Image& image, const ImageFacts& facts) {
  std::string text = fmt::format("image     {} ({}{}{})\ndigest    {}\nlayers    {}\n", image.name, image.kind,
                                 image.platform.empty() ? "" : ", ", image.platform, image.digest, image.layers.size());
  text += fmt::format("files     {} regular, {} of content\n", facts.files, size_text(facts.bytes));
  text += fmt::format("depth     {} at most, {:.1f} on average\n", facts.depth_max, facts.depth_mean);
  text += fmt::format("duplicate {} files, {}\n", facts.files_duplicate, size_text(facts.bytes_duplicate));
  text += fmt::format("hidden    {} in files that layers above replace or delete\n", size_text(facts.bytes_hidden));
  text += fmt::format("\n{:>5} {:>10} {:>10} {:>7} {:>7} {:>8} {:>6} {:>8} {:>7}  {}\n", "layer", "stored", "content",
                      "files", "folders", "symlinks", "links", "replaced", "deleted", "diff_id");
  for (std::size_t i = 0; i < facts.layers.size(); ++i) {
    const LayerFacts& layer = facts.layers[i];
    text += fmt::format("{:>5} {:>10} {:>10} {:>7} {:>7} {:>8} {:>6} {:>8} {:>7}  {}\n", i + 1,
                        size_text(layer.bytes_stored), size_text(layer.bytes_content), layer.files, layer.folders,
                        layer.symlinks, layer.hard_links, layer.replaced, layer.deletions, layer.diff_id.substr(0, 19));
  }
  text += fmt::format("\n{:>12} {:>7} {:>10}\n", "file size", "files", "content");
  for (std::size_t bucket = 0; bucket < SizeHistogram::kBuckets; ++bucket) {
    if (facts.sizes.files[bucket] > 0) {
      const auto width = static_cast<int>(40 * facts.sizes.files[bucket] / std::max<std::uint64_t>(1, facts.files));
      text += fmt::format("{:>12} {:>7} {:>10}  {}\n", bucket_text(bucket), facts.sizes.files[bucket],
                          size_text(facts.sizes.bytes[bucket]), std::string(static_cast<std::size_t>(width), '#'));
    }
  }
  return text;
}

}  // namespace sbench
