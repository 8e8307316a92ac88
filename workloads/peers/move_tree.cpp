// move_tree.cpp: moving a lower tree of 3 GB, as in docker/for-linux#379.
//
// The tree is 3 GiB in files of 64 KiB, 100 a folder. Where a lower directory cannot
// be renamed, mv copies all of it and then deletes it; the published case took hours
// on a hard disk.
#include "workloads/content/move_tree.h"

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFileBytes = 64 * kKiB;
constexpr std::uint64_t kFilesPerFolder = 100;

std::string file_path(std::uint64_t i) { return fmt::format("d{:04}/f{:06}", i / kFilesPerFolder, i); }

Status run(Case& c) {
  const std::uint64_t count = scaled(c, 3 * kGiB / kFileBytes);
  const std::uint64_t seed = content_seed(c);
  Scratch scratch(c);
  SBENCH_TRY_SET(const ParentId base, fixture_base(c));
  SBENCH_TRY_SET(const LayerId image, scratch.written("move-tree", base, [&](const fs::path& root) -> Status {
    for (std::uint64_t i = 0; i < count; ++i) {
      const fs::path file = root / "tree" / file_path(i);
      if (i % kFilesPerFolder == 0) {
        SBENCH_TRY(make_directories(file.parent_path()));
      }
      SBENCH_TRY(make_file(file, Content(seed + i), kFileBytes));
    }
    return {};
  }));
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("move-tree", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(move_tree(c, mount.path() / "tree", mount.path() / "moved"));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));

  SBENCH_TRY(verify(!fs::exists(mount.path() / "tree"), "the old directory is gone"));
  for (std::uint64_t i = 0; i < count; ++i) {
    SBENCH_TRY(verify_file(mount.path() / "moved" / file_path(i), Content(seed + i), kFileBytes));
  }
  SBENCH_TRY(mount.release());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "peers.move_tree",
    .summary = "mv of a lower tree of 3 GiB in files of 64 KiB",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {scale_param({"1024"}, {}, {"128"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
