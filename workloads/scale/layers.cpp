// layers.cpp: what single operations cost in a store that already holds many layers.
//
// The store gets `layers` committed layers, a file in every sixteenth of them; then a
// container is prepared, mounted, unmounted, committed and removed twenty times. What
// grows here is bookkeeping: tables, links, datasets, thin devices (moby#31247 for zfs,
// moby#29325 for btrfs).
#include <algorithm>

#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kRounds = 20;
constexpr std::uint64_t kMarkedEvery = 16;  ///< of so many layers one holds a file that is checked
constexpr std::uint64_t kFileBytes = 512;

Content content_of(const Case& c, std::uint64_t layer) { return Content(content_seed(c) + layer); }

/// `count` committed layers on `image`; returns those that hold a file, by number.
Result<std::map<std::uint64_t, LayerId>> populate(Case& c, Scratch& scratch, const LayerId& image,
                                                  std::uint64_t count) {
  std::map<std::uint64_t, LayerId> marked;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i % kMarkedEvery == 0) {
      SBENCH_TRY_SET(marked[i], scratch.written("population", image, [&](const fs::path& root) {
        return make_file(root / "mark", content_of(c, i), kFileBytes);
      }));
    } else {
      SBENCH_TRY_SET(const LayerId key, scratch.prepare("population", image));
      SBENCH_TRY_SET([[maybe_unused]] const LayerId name, scratch.commit("population", key));
    }
  }
  return marked;
}

Status one_round(Case& c, Scratch& scratch, const LayerId& image, const SmallFile& file) {
  LayerId layer;
  std::optional<Mount> mount;
  SBENCH_TRY(c.op("prepare", [&]() -> Status {
    SBENCH_TRY_SET(layer, scratch.prepare("scale", image));
    return {};
  }));
  SBENCH_TRY(c.op("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(layer));
    mount.emplace(std::move(made));
    return {};
  }));
  SBENCH_TRY(c.op("read", [&]() -> Status {
    SBENCH_TRY_SET(const std::uint64_t bytes, read_through(mount->path() / file.path));
    return verify(bytes == file.size_bytes, fmt::format("{} has its size", file.path));
  }));
  SBENCH_TRY(c.op("unmount", [&] { return mount->release(); }));
  SBENCH_TRY(c.op("commit", [&]() -> Status {
    SBENCH_TRY_SET(layer, scratch.commit("scale", layer));
    return {};
  }));
  return c.op("remove", [&] { return scratch.remove(layer); });
}

Status run(Case& c) {
  const std::uint64_t count = c.params().number("layers");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, 1));
  const SmallFile file = small_files(c, 1).front();
  Scratch scratch(c);
  SBENCH_TRY_SET(const auto marked, populate(c, scratch, image, count));
  SBENCH_TRY_SET(const auto before, c.driver().list());
  c.metric("layers_existing", static_cast<double>(before.size()));
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(c.timed("operations", [&]() -> Status {
    for (unsigned i = 0; i < kRounds; ++i) {
      SBENCH_TRY(one_round(c, scratch, image, file));
    }
    return {};
  }));
  SBENCH_TRY(c.settle());

  SBENCH_TRY_SET(const auto after, c.driver().list());
  SBENCH_TRY(verify(after == before, "the store holds the layers it held before"));
  for (const auto& [number, id] : marked) {
    SBENCH_TRY_SET(Mount mount, c.driver().mount(id));
    SBENCH_TRY(verify_file(mount.path() / "mark", content_of(c, number), kFileBytes));
    SBENCH_TRY(verify_small_file(mount.path() / file.path, file));
    SBENCH_TRY(mount.release());
  }
  return c.phase("remove_population", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "scale.layers",
    .summary = "prepare, mount, unmount, commit and remove in a store that holds many layers",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"layers",
                "layers the store holds before",
                {{{"1", "10"}, {}, {"1", "100"}, {"1", "10", "100", "1000"}}}}},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
