#include "workloads/content/fixtures.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/base_image.h"
#include "workloads/content/file_io.h"
#include "workloads/content/layer_store.h"
#include "workloads/content/residency.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kProbeBytes = 64 * kKiB;
constexpr std::size_t kFilesPerFolder = 100;

Status write_probe(const fs::path& root, std::uint64_t seed) {
  SBENCH_TRY(make_directories(root / "probe"));
  return make_file(root / kLowerProbe, Content(seed), kProbeBytes);
}

}  // namespace

Status written_layer(Case& c, const LayerId& name, const ParentId& parent,
                     const std::function<Status(const fs::path&)>& write) {
  return c.fixture(name, [&]() -> Status {
    Scratch unfinished(c);  // takes the layer away again when writing it fails
    SBENCH_TRY_SET(const LayerId key, unfinished.prepare("fixture", parent));
    SBENCH_TRY_SET(Mount mount, c.driver().mount(key));
    SBENCH_TRY(write(mount.path()));
    SBENCH_TRY(mount.release());
    return unfinished.keep_as(name, key);
  });
}

std::uint64_t content_seed(const Case& c) { return c.rng("content").next(); }

Content lower_content(const Case& c, std::uint64_t size_bytes) { return Content(content_seed(c) + size_bytes); }

Result<LayerId> lower_file_stack(Case& c, std::uint64_t size_bytes, unsigned depth) {
  SBENCH_TRY_SET(ParentId below, fixture_base(c));
  for (unsigned level = 1; level <= depth; ++level) {
    const LayerId name = fmt::format("lower-{}-{}", format_size(size_bytes), level);
    SBENCH_TRY(written_layer(c, name, below, [&](const fs::path& root) -> Status {
      if (level > 1) {
        const Content content(content_seed(c) + level);
        return make_file(root / "data" / fmt::format("layer-{}", level), content, 512);
      }
      SBENCH_TRY(write_probe(root, content_seed(c)));
      SBENCH_TRY(make_directories(root / "data"));
      return make_file(root / kLowerFile, lower_content(c, size_bytes), size_bytes);
    }));
    below = name;
  }
  return *below;
}

std::vector<SmallFile> small_files(const Case& c, std::uint64_t count) {
  Rng rng = c.rng("small files");
  std::vector<SmallFile> files;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double size = 3000.0 * std::exp(0.6 * rng.normal());
    files.push_back({fmt::format("tree/d{:04}/f{:06}", i / kFilesPerFolder, i),
                     static_cast<std::uint64_t>(std::clamp(size, 1024.0, 12288.0)), rng.next()});
  }
  return files;
}

Result<LayerId> small_file_layer(Case& c, std::uint64_t count) {
  LayerId name = fmt::format("tree-{}", count);
  SBENCH_TRY_SET(const ParentId base, fixture_base(c));
  SBENCH_TRY(written_layer(c, name, base, [&](const fs::path& root) -> Status {
    SBENCH_TRY(write_probe(root, content_seed(c)));
    fs::path folder;
    for (const auto& file : small_files(c, count)) {
      const fs::path path = root / file.path;
      if (path.parent_path() != folder) {
        folder = path.parent_path();
        SBENCH_TRY(make_directories(folder));
      }
      SBENCH_TRY(make_file(path, Content(file.content_seed), file.size_bytes));
    }
    return {};
  }));
  return name;
}

Content append_content(const SmallFile& file) { return Content(file.content_seed + 1); }

Status verify_small_file(const fs::path& path, const SmallFile& file, std::uint64_t appended) {
  const Patch tail{file.size_bytes, appended, append_content(file)};
  return verify_file(path, Content(file.content_seed), file.size_bytes + appended, tail);
}

LayerSpec image_spec(const Case& c, ImageScale scale, LayerStep step, unsigned revision) {
  return LayerSpec{content_seed(c), scale, step, revision, c.image(), 0};
}

std::vector<LayerSpec> image_specs(const Case& c, ImageScale scale, LayerStep top) {
  std::vector<LayerSpec> specs;
  for (const LayerStep step : kLayerSteps) {
    const std::size_t levels = step == LayerStep::base && c.image() != nullptr ? c.image()->layers.size() : 1;
    for (std::size_t level = 0; level < levels; ++level) {
      specs.push_back(image_spec(c, scale, step));
      specs.back().level = static_cast<unsigned>(level);
    }
    if (step == top) {
      break;
    }
  }
  return specs;
}

LayerStep whole_image(const Case& c) { return c.image() == nullptr ? LayerStep::config : LayerStep::base; }

ImageScale image_scale(const Case& c) {
  const std::string& text = c.params().text("image");
  return parse_image_scale(text.substr(text.rfind('-') + 1));
}

std::string image_probe(const Case& c) {
  return c.image() == nullptr ? std::string(kSentinelPath) : c.image()->probe_path;
}

Result<ParentId> fixture_base(Case& c) {
  if (c.image() == nullptr) {
    return ParentId();
  }
  SBENCH_TRY_SET(LayerId top, pulled_image(c, ImageScale::tiny, LayerStep::base));
  return ParentId(std::move(top));
}

Result<std::uint64_t> pull_layer(Driver& driver, const LayerId& name, const LayerId& key, const ParentId& parent,
                                 const LayerSpec& spec) {
  SBENCH_TRY_SET(const auto tar, layer_tar(spec));
  MemorySource source(tar);
  SBENCH_TRY(driver.prepare(key, parent));
  SBENCH_TRY_SET(const std::uint64_t bytes, driver.apply(key, source));
  SBENCH_TRY(driver.commit(name, key));
  return bytes;
}

Result<LayerId> pulled_image(Case& c, ImageScale scale, LayerStep top) {
  ParentId below;
  for (const LayerSpec& spec : image_specs(c, scale, top)) {
    // The layers of a given image are the same whatever is generated above them.
    const LayerId name = spec.image != nullptr && spec.step == LayerStep::base
                             ? fmt::format("image-{}", spec.level)
                             : fmt::format("image-{}-{}", to_string(scale), to_string(spec.step));
    SBENCH_TRY(c.fixture(name, [&]() -> Status {
      SBENCH_TRY_SET([[maybe_unused]] const auto bytes, pull_layer(c.driver(), name, name + ".new", below, spec));
      return {};
    }));
    below = name;
  }
  return *below;
}

MergedImage merged_image(const Case& c, ImageScale scale, LayerStep top) {
  std::vector<const ImageLayer*> layers;
  for (const LayerSpec& spec : image_specs(c, scale, top)) {
    layers.push_back(&image_layer(spec));
  }
  return merge_layers(layers);
}

CheckDepth check_depth(ImageScale scale) { return scale == ImageScale::tiny ? CheckDepth::full : CheckDepth::sampled; }

Status quiet(Case& c) {
  const auto delta = c.device_delta();  // its contract: everything is on the device, and the device is quiet
  return delta.ok() ? Status() : Status(delta.error());
}

Status go_cold(Case& c, const LayerId& layer, std::string_view probe) {
  {
    SBENCH_TRY_SET(Mount mount, c.driver().mount(layer));
    SBENCH_TRY_SET([[maybe_unused]] const auto bytes, read_through(mount.path() / probe));
    SBENCH_TRY(mount.release());
  }
  SBENCH_TRY(c.cold());
  SBENCH_TRY_SET(Mount mount, c.driver().mount(layer));
  SBENCH_TRY_SET(const std::uint64_t resident, resident_bytes(mount.path() / probe));
  c.flag(resident == 0 ? "cache_cold_verified" : "cache_not_cold");
  return mount.release();
}

}  // namespace sbench
