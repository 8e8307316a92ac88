#include "workloads/content/layer_store.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/units.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/tar_writer.h"
#include "workloads/content/content.h"

namespace sbench {
namespace {

using Region = std::span<const std::byte>;

/// Collects what `fill` writes in a memfd and maps it; the mapping stays for good.
Result<Region> make_region(const char* name, const std::function<Status(ByteSink&)>& fill) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot make a memory file for {}", name);
  }
  FdSink sink(fd.get(), name);
  SBENCH_TRY(fill(sink));
  const off_t size = ::lseek(fd.get(), 0, SEEK_CUR);
  if (size == 0) {
    return Region();
  }
  void* const mapped =
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (mapped == MAP_FAILED) {
    return errno_error("cannot map a memory file for {}", name);
  }
  return Region(static_cast<const std::byte*>(mapped), static_cast<std::size_t>(size));
}

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

/// One kind of region for every layer asked for.
class RegionCache {
 public:
  Result<Region> get(const LayerSpec& spec, const char* name, Status (*fill)(const ImageLayer&, ByteSink&)) {
    const std::lock_guard lock(mutex_);
    const auto found = regions_.find(spec);
    if (found != regions_.end()) {
      return found->second;
    }
    const ImageLayer& layer = image_layer(spec);
    SBENCH_TRY_SET(const Region region, make_region(name, [&](ByteSink& sink) { return fill(layer, sink); }));
    regions_[spec] = region;
    return region;
  }

 private:
  std::mutex mutex_;
  std::map<LayerSpec, Region> regions_;
};

}  // namespace

Result<Region> layer_tar(const LayerSpec& spec) {
  static RegionCache cache;
  return cache.get(spec, "sbench layer tar", write_tar);
}

Result<Region> layer_content(const LayerSpec& spec) {
  static RegionCache cache;
  return cache.get(spec, "sbench layer content", write_content);
}

}  // namespace sbench
