// union_mount.cpp: union_fs over given directories, served in the foreground: what tests/peers/compare races.
//
//     sbench_union_mount overlay|aufs MOUNTPOINT UPPER WORK LOWER…     (nearest lower first)
//
// Says "ready" when the tree stands; ends when it is unmounted.
#include <fmt/core.h>
#include <sys/stat.h>

#include <string>

#include "drivers/fuse/session.h"
#include "drivers/union_fs/union_fs.h"

int main(int count, char** arguments) {
  if (count < 6) {
    fmt::print(stderr, "usage: sbench_union_mount overlay|aufs MOUNTPOINT UPPER WORK LOWER...\n");
    return 2;
  }
  ::umask(0);
  sbench::UnionOptions options;
  options.dialect = arguments[1] == std::string("aufs") ? sbench::UnionDialect::aufs : sbench::UnionDialect::overlay;
  options.upper = arguments[3];
  if (options.dialect == sbench::UnionDialect::overlay) {
    options.work = arguments[4];
  } else {
    options.sync = sbench::UnionSync::unordered;  // as aufs: a copy-up waits for no device
  }
  options.lower.assign(arguments + 5, arguments + count);
  const auto files = sbench::open_union(options);
  if (!files.ok()) {
    fmt::print(stderr, "sbench_union_mount: {}\n", files.error().what);
    return 1;
  }
  const auto session = sbench::fuse::Session::mount(**files, arguments[2], {});
  if (!session.ok()) {
    fmt::print(stderr, "sbench_union_mount: {}\n", session.error().what);
    return 1;
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  (*session)->serve();
  return 0;
}
