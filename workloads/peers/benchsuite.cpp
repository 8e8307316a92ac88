// benchsuite.cpp: the shape of containerd's snapshotter benchmark.
//
// 16 layers over one set of ten files of 1 MiB. By turns a layer writes all ten;
// writes four, patches four bytes in the middle of four and deletes two; or writes
// four, patches five and deletes one: 94 writes, 49 patches and 17 deletes in all.
// Each layer is prepared, mounted, written, unmounted and committed; nothing is
// synced, as there. Shape: containerd, snapshots/benchsuite/benchmark_test.go, which
// credits all 160 operations with 1 MiB each; here 94 MiB and 196 bytes count as written.
#include <fcntl.h>
#include <sys/stat.h>

#include <array>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kLayers = 16;
constexpr std::uint64_t kPatchBytes = 4;
constexpr std::uint64_t kPiece = 32 * kKiB;  ///< what Go's io.Copy hands to the kernel at a time

enum class Deed { write, patch, remove };
struct Step {
  const char* file;
  Deed deed;
};
using Plan = std::array<Step, 10>;

constexpr Plan kEveryThird = {{{"a", Deed::patch},
                               {"b", Deed::patch},
                               {"c", Deed::write},
                               {"d", Deed::patch},
                               {"f", Deed::write},
                               {"e", Deed::patch},
                               {"g", Deed::remove},
                               {"h", Deed::write},
                               {"i", Deed::patch},
                               {"j", Deed::write}}};
constexpr Plan kOtherEven = {{{"a", Deed::patch},
                              {"b", Deed::write},
                              {"c", Deed::remove},
                              {"d", Deed::write},
                              {"e", Deed::patch},
                              {"f", Deed::remove},
                              {"g", Deed::write},
                              {"h", Deed::patch},
                              {"i", Deed::write},
                              {"j", Deed::patch}}};
constexpr Plan kRest = {{{"a", Deed::write},
                         {"b", Deed::write},
                         {"c", Deed::write},
                         {"d", Deed::write},
                         {"e", Deed::write},
                         {"f", Deed::write},
                         {"g", Deed::write},
                         {"h", Deed::write},
                         {"i", Deed::write},
                         {"j", Deed::write}}};

const Plan& plan_of(unsigned layer) { return layer % 3 == 0 ? kEveryThird : layer % 2 == 0 ? kOtherEven : kRest; }

/// What a file must hold: the content of the layer that wrote it, patched by a later one.
struct Expected {
  unsigned written_by = 0;
  unsigned patched_by = 0;  ///< 0: not since it was written
};

struct Suite {
  std::uint64_t seed = 0;
  std::uint64_t file_bytes = 0;
  std::map<std::string, Expected> files;
  std::map<Deed, unsigned> deeds;

  [[nodiscard]] Content content(unsigned layer) const { return Content(seed + layer); }
  [[nodiscard]] Content patch_content(unsigned layer) const { return Content(seed + kLayers + layer); }

  Status carry_out(const fs::path& root, unsigned layer, std::span<const std::byte> data);
  Status verify_tree(const fs::path& root) const;
};

Status write_new(const fs::path& path, std::span<const std::byte> data) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0777));
  for (std::uint64_t at = 0; at < data.size(); at += kPiece) {
    SBENCH_TRY(write_bytes(fd.get(), data.subspan(at, std::min(kPiece, data.size() - at)), at, path));
  }
  return ::chmod(path.c_str(), 0777) == 0 ? Status() : Status(errno_error("cannot set the mode of {}", path.string()));
}

Status Suite::carry_out(const fs::path& root, unsigned layer, std::span<const std::byte> data) {
  for (const Step& step : plan_of(layer)) {
    const fs::path path = root / step.file;
    switch (step.deed) {
      case Deed::write:
        SBENCH_TRY(write_new(path, data));
        files[step.file] = {layer, 0};
        break;
      case Deed::patch: {
        SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY));
        SBENCH_TRY(write_range(fd.get(), patch_content(layer), file_bytes / 2, kPatchBytes, path));
        files.at(step.file).patched_by = layer;
        break;
      }
      case Deed::remove:
        SBENCH_TRY(remove_tree(path));
        files.erase(step.file);
        break;
    }
    ++deeds[step.deed];
  }
  return {};
}

Status Suite::verify_tree(const fs::path& root) const {
  for (const Step& step : kRest) {
    const auto expected = files.find(step.file);
    if (expected == files.end()) {
      SBENCH_TRY(verify(!fs::exists(root / step.file), fmt::format("{} is deleted", step.file)));
      continue;
    }
    const auto& [written_by, patched_by] = expected->second;
    std::optional<Patch> patch;
    if (patched_by != 0) {
      patch = Patch{file_bytes / 2, kPatchBytes, patch_content(patched_by)};
    }
    SBENCH_TRY(verify_file(root / step.file, content(written_by), file_bytes, patch));
  }
  return {};
}

/// One layer on `top`, which becomes the new top.
Status add_layer(Case& c, Scratch& scratch, Suite& suite, unsigned layer, ParentId& top) {
  std::vector<std::byte> data(suite.file_bytes);  // generating content is not what is timed
  suite.content(layer).fill(0, data);
  LayerId key;
  std::optional<Mount> mount;
  SBENCH_TRY(c.timed("prepare", [&]() -> Status {
    SBENCH_TRY_SET(key, scratch.prepare("benchsuite", top));
    return {};
  }));
  SBENCH_TRY(c.timed("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(key));
    mount.emplace(std::move(made));
    return {};
  }));
  SBENCH_TRY(c.timed("write", [&] { return suite.carry_out(mount->path(), layer, data); }));
  SBENCH_TRY(c.timed("unmount", [&] { return mount->release(); }));
  return c.timed("commit", [&]() -> Status {
    SBENCH_TRY_SET(top, scratch.commit("benchsuite", key));
    return {};
  });
}

Status run(Case& c) {
  SBENCH_TRY(deep_enough(c, kLayers));
  Suite suite;
  suite.seed = content_seed(c);
  suite.file_bytes = scaled(c, kMiB, 2 * kPatchBytes);
  SBENCH_TRY_SET(ParentId top, fixture_base(c));
  Scratch scratch(c);
  SBENCH_TRY(quiet(c));
  for (unsigned layer = 1; layer <= kLayers; ++layer) {
    SBENCH_TRY(add_layer(c, scratch, suite, layer, top));
  }
  c.app_wrote(suite.deeds[Deed::write] * suite.file_bytes + suite.deeds[Deed::patch] * kPatchBytes);
  SBENCH_TRY(c.settle());
  c.metric("writes", suite.deeds[Deed::write]);
  c.metric("patches", suite.deeds[Deed::patch]);
  c.metric("deletes", suite.deeds[Deed::remove]);

  SBENCH_TRY_SET(Mount mount, c.driver().mount(*top));
  SBENCH_TRY(suite.verify_tree(mount.path()));
  SBENCH_TRY(mount.release());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "peers.benchsuite",
    .summary = "containerd's snapshotter benchmark: 16 layers of 1 MiB writes, 4-byte patches and deletes",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {scale_param({"64"}, {"1"}, {"1"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
