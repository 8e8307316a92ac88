#include "workloads/content/layer_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "drivers/base/units.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/memory_file.h"
#include "drivers/layer/tar_writer.h"
#include "workloads/content/base_image.h"
#include "workloads/content/content.h"

namespace sbench {
namespace {

using Region = std::span<const std::byte>;

bool has_content(const ImageEntry& entry) { return S_ISREG(entry.mode) && entry.hard_link_target.empty(); }

/// Hands the entry's content to `take` in pieces.
Status generate(const ImageEntry& entry, const std::function<Status(Region)>& take) {
  static thread_local std::vector<std::byte> buffer(kMiB);
  const Content content(entry.content_seed, entry.compressible_percent);
  for (std::uint64_t offset = 0; offset < entry.size_bytes; offset += buffer.size()) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), entry.size_bytes - offset));
    content.fill(offset, piece);
    SBENCH_TRY(take(piece));
  }
  return {};
}

TarEntry tar_entry(const ImageEntry& entry) {
  TarEntry made;
  made.path = entry.path;
  made.mode = entry.mode;
  made.uid = entry.uid;
  made.gid = entry.gid;
  made.size_bytes = has_content(entry) ? entry.size_bytes : 0;
  made.mtime_ns = entry.mtime_ns;
  made.device_number = entry.device_number;
  made.link_target = entry.link_target;
  made.hard_link_target = entry.hard_link_target;
  made.xattrs = entry.xattrs;
  return made;
}

Status write_tar(const ImageLayer& layer, ByteSink& sink) {
  TarWriter writer(sink);
  for (const auto& path : layer.deletions) {
    SBENCH_TRY(writer.add_whiteout(path));
  }
  for (const auto& path : layer.opaques) {
    SBENCH_TRY(writer.add_whiteout(path, true));
  }
  for (const auto& entry : layer.entries) {
    SBENCH_TRY(writer.add(tar_entry(entry)));
    if (has_content(entry)) {
      SBENCH_TRY(generate(entry, [&](Region piece) { return writer.write_data(piece); }));
    }
  }
  return writer.finish();
}

Status write_content(const ImageLayer& layer, ByteSink& sink) {
  for (const auto& entry : layer.entries) {
    if (has_content(entry)) {
      SBENCH_TRY(generate(entry, [&](Region piece) { return sink.write(piece); }));
    }
  }
  return {};
}

/// One kind of region for every layer asked for, kept for the life of the process.
class RegionCache {
 public:
  Result<Region> get(const LayerSpec& spec, const char* name, Status (*fill)(const ImageLayer&, ByteSink&)) {
    const std::lock_guard lock(mutex_);
    auto& place = regions_[spec];
    if (place == nullptr) {
      SBENCH_TRY_SET(auto made, MemoryFile::make(name));
      SBENCH_TRY(fill(image_layer(spec), *made));
      place = std::move(made);
    }
    return place->map();
  }

 private:
  std::mutex mutex_;
  std::map<LayerSpec, std::unique_ptr<MemoryFile>> regions_;
};

}  // namespace

Result<Region> layer_tar(const LayerSpec& spec) {
  if (spec.image != nullptr && spec.step == LayerStep::base) {
    if (const auto& tar = spec.image->tars.at(spec.level); tar != nullptr) {
      return tar->map();
    }
  }
  static RegionCache cache;
  return cache.get(spec, "sbench layer tar", write_tar);
}

Result<Region> layer_content(const LayerSpec& spec) {
  static RegionCache cache;
  return cache.get(spec, "sbench layer content", write_content);
}

}  // namespace sbench
