// chown_tree.cpp: recursive chown of a lower tree, the slowest line of many a Dockerfile.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/base/user_namespace.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kOwner = 1234;

Status change_owner(Case& c, const fs::path& path) {
  return c.op("chown", [&]() -> Status {
    return ::lchown(path.c_str(), kOwner, kOwner) == 0
               ? Status()
               : Status(errno_error("cannot change the owner of {}", path.string()));
  });
}

Status chown_below(Case& c, const fs::path& top) {
  std::error_code error;
  SBENCH_TRY(change_owner(c, top));
  for (fs::recursive_directory_iterator it(top, error), end; !error && it != end; it.increment(error)) {
    SBENCH_TRY(change_owner(c, it->path()));
  }
  return error ? Status(make_error(error.value(), "cannot list {}", top.string())) : Status();
}

Status verify_owners(const fs::path& root, const std::vector<SmallFile>& files, unsigned owner) {
  for (const auto& file : files) {
    struct stat status {};
    if (::lstat((root / file.path).c_str(), &status) != 0) {
      return errno_error("cannot inspect {}", (root / file.path).string());
    }
    SBENCH_TRY(verify(status.st_uid == owner && status.st_gid == owner,
                      fmt::format("{} belongs to {}", (root / file.path).string(), owner)));
    SBENCH_TRY(verify_small_file(root / file.path, file));
  }
  return {};
}

Status run(Case& c) {
  if (!may_give_files_away()) {
    return c.cannot_run(kNoOtherOwners, kSubordinateIds);
  }
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("chown-tree", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(c.timed("chown", [&] { return chown_below(c, mount.path() / "tree"); }));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));
  c.metric("inodes_growth", static_cast<double>(after.inodes) - static_cast<double>(before.inodes));

  const auto files = small_files(c, count);
  SBENCH_TRY(verify_owners(mount.path(), files, kOwner));
  SBENCH_TRY(mount.release());
  {
    SBENCH_TRY_SET(Mount lower, c.driver().mount(image));
    SBENCH_TRY(verify_owners(lower.path(), files, 0));
    SBENCH_TRY(lower.release());
  }
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "copy_up.chown_tree",
    .summary = "recursive chown of many small lower files",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"files", "files in the tree", {{{"50"}, {"500"}, {"10000"}, {"10000", "100000"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
