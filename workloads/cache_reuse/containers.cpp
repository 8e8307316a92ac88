// containers.cpp: starting N containers from one image, all mounted at the same time.
//
// A start is prepare, mount, and reading the files an application reads when it
// comes up. Caches are empty before the first start; what later starts need not
// read again, and what N containers keep in memory, is what drivers differ in.
#include <sys/stat.h>

#include <algorithm>

#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// Bytes an application reads at its start: an eighth of the image, not below 8 MiB (or half a tiny image).
std::uint64_t entry_set_bytes(std::uint64_t image_bytes) {
  return std::max(image_bytes / 8, std::min(8 * kMiB, image_bytes / 2));
}

/// Libraries, dependencies and code, drawn at random until the bytes are reached.
std::vector<const ImageEntry*> entry_set(const MergedImage& image, Rng rng) {
  std::vector<const ImageEntry*> candidates;
  std::uint64_t image_bytes = 0;
  for (const auto& [path, entry] : image) {
    if (!S_ISREG(entry->mode) || !entry->hard_link_target.empty()) {
      continue;
    }
    image_bytes += entry->size_bytes;
    if (path.starts_with("usr/lib/") || path.starts_with("usr/bin/") || path.starts_with("opt/") ||
        path.starts_with("srv/")) {
      candidates.push_back(entry);
    }
  }
  rng.shuffle(candidates);
  std::vector<const ImageEntry*> chosen;
  std::uint64_t bytes = 0;
  for (const auto* entry : candidates) {
    if (bytes >= entry_set_bytes(image_bytes)) {
      break;
    }
    chosen.push_back(entry);
    bytes += entry->size_bytes;
  }
  return chosen;
}

Status read_entries(Case& c, const fs::path& root, const std::vector<const ImageEntry*>& entries) {
  std::uint64_t total = 0;
  for (const auto* entry : entries) {
    SBENCH_TRY_SET(const std::uint64_t bytes, read_through(root / entry->path));
    SBENCH_TRY(verify(bytes == entry->size_bytes, fmt::format("{} has its size", entry->path)));
    total += bytes;
  }
  c.app_read(total);
  return {};
}

/// One start; the mount stays in `mounts`.
Status start_container(Case& c, Scratch& scratch, const LayerId& image, const std::vector<const ImageEntry*>& entries,
                       std::vector<Mount>& mounts) {
  LayerId container;
  SBENCH_TRY(c.op("prepare", [&]() -> Status {
    SBENCH_TRY_SET(container, scratch.prepare("container", image));
    return {};
  }));
  SBENCH_TRY(c.op("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(container));
    mounts.push_back(std::move(made));
    return {};
  }));
  return c.op("read_entries", [&] { return read_entries(c, mounts.back().path(), entries); });
}

Status verify_containers(const std::vector<Mount>& mounts, const std::vector<const ImageEntry*>& entries) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    for (std::size_t k = i % 16; k < entries.size(); k += 16) {  // another sixteenth in every container
      const ImageEntry& entry = *entries[k];
      SBENCH_TRY(verify_content(mounts[i].path() / entry.path, entry));
    }
  }
  return {};
}

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  const std::uint64_t containers = c.params().number("containers");
  SBENCH_TRY_SET(const LayerId image, pulled_image(c, scale, LayerStep::config));
  const MergedImage tree = merged_image(c, scale, LayerStep::config);
  const auto entries = entry_set(tree, c.rng("entry set"));
  SBENCH_TRY_SET(const Case::Space space_before, c.space());
  SBENCH_TRY(go_cold(c, image, image_probe(c)));

  Scratch scratch(c);
  std::vector<Mount> mounts;
  SBENCH_TRY_SET(const std::uint64_t cached_before, c.page_cache_bytes());
  for (std::uint64_t i = 0; i < containers; ++i) {
    SBENCH_TRY(c.timed(
        "start", [&] { return c.op("start", [&] { return start_container(c, scratch, image, entries, mounts); }); }));
  }
  SBENCH_TRY_SET(const std::uint64_t cached_after, c.page_cache_bytes());
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space space_after, c.space());
  const auto per_container = [&](std::uint64_t after, std::uint64_t before) {
    return (static_cast<double>(after) - static_cast<double>(before)) / static_cast<double>(containers);
  };
  c.metric("page_cache_bytes_per_container", per_container(cached_after, cached_before));
  c.metric("space_bytes_per_container", per_container(space_after.bytes, space_before.bytes));
  c.metric("inodes_per_container", per_container(space_after.inodes, space_before.inodes));

  SBENCH_TRY(verify(mounts.size() == containers, "all containers are mounted at the same time"));
  SBENCH_TRY(verify_containers(mounts, entries));
  return c.phase("stop", [&]() -> Status {
    for (auto& mount : mounts) {
      SBENCH_TRY(mount.release());
    }
    return scratch.remove_all();
  });
}

/// Many containers use the small image, whatever the driver: one that copies at
/// prepare would fill the device with full ones.
bool keep(const Params& params, Profile) { return params.text("image") != "full" || params.number("containers") <= 16; }

const RegisterWorkload kRegistered{{
    .name = "cache_reuse.containers",
    .summary = "N containers started from one image: time, reads, page cache, space and inodes of each",
    .version = 1,
    .cache = "cold",
    .durability = "none",
    .params = {{"containers",
                "containers started",
                {{{"2"}, {"1", "8"}, {"1", "4", "16", "64"}, {"1", "4", "16", "64", "100"}}}},
               {"image", "size of the image", {{{"tiny"}, {"small"}, {"small", "full"}, {"small", "full"}}}}},
    .keep = keep,
    .run = run,
}};

}  // namespace
}  // namespace sbench
