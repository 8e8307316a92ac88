// rename_dir.cpp: renaming a lower directory, with mv's fallback.
//
// Where the kernel answers EXDEV (overlayfs without redirect_dir), the tree is
// copied and deleted, as mv does.
#include "workloads/content/fixtures.h"
#include "workloads/content/move_tree.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

Status run(Case& c) {
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("rename-dir", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY(quiet(c));

  const fs::path source = mount.path() / "tree";
  const fs::path target = mount.path() / "moved";
  SBENCH_TRY(move_tree(c, source, target));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());

  SBENCH_TRY(verify(!fs::exists(source), "the old directory is gone"));
  for (const auto& file : small_files(c, count)) {
    SBENCH_TRY(verify_small_file(target / file.path.substr(std::string_view("tree/").size()), file));
  }
  SBENCH_TRY(mount.release());
  return scratch.remove_all();
}

const RegisterWorkload kRegistered{{
    .name = "copy_up.rename_dir",
    .summary = "rename of a lower directory; copy and delete where the driver refuses, as mv does",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"files", "files in the directory", {{{"50"}, {"500"}, {"10000"}, {"10000", "100000"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
