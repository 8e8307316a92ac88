// rename_dir.cpp: renaming a lower directory, with mv's fallback.
//
// Where the kernel answers EXDEV (overlayfs without redirect_dir), the tree is
// copied and deleted, as mv does.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "drivers/base/file.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

Status called(int outcome, const char* what, const fs::path& path) {
  return outcome == 0 ? Status() : Status(errno_error("cannot {} {}", what, path.string()));
}

/// Content, owner, mode and times of one file, as `mv` keeps them.
Status copy_regular(const fs::path& source, const fs::path& target) {
  SBENCH_TRY_SET(Fd from, open_file(source, O_RDONLY));
  SBENCH_TRY_SET(Fd to, open_file(target, O_WRONLY | O_CREAT | O_EXCL, 0600));
  struct stat status {};
  SBENCH_TRY(called(::fstat(from.get(), &status), "inspect", source));
  for (off_t left = status.st_size; left > 0;) {
    const ssize_t count = ::copy_file_range(from.get(), nullptr, to.get(), nullptr, static_cast<std::size_t>(left), 0);
    if (count < 0) {
      return errno_error("cannot copy {}", source.string());
    }
    SBENCH_TRY(verify(count > 0, fmt::format("{} keeps its size while it is copied", source.string())));
    left -= count;
  }
  SBENCH_TRY(called(::fchown(to.get(), status.st_uid, status.st_gid), "change the owner of", target));
  SBENCH_TRY(called(::fchmod(to.get(), status.st_mode & 07777), "change the mode of", target));
  const std::array<timespec, 2> times = {status.st_atim, status.st_mtim};
  return called(::futimens(to.get(), times.data()), "set the times of", target);
}

Status copy_folder(const fs::path& source, const fs::path& target) {
  SBENCH_TRY(called(::mkdir(target.c_str(), 0755), "make", target));
  std::error_code error;
  for (fs::directory_iterator it(source, error), end; !error && it != end; it.increment(error)) {
    const fs::path below = target / it->path().filename();
    SBENCH_TRY(it->is_directory() ? copy_folder(it->path(), below) : copy_regular(it->path(), below));
  }
  return error ? Status(make_error(error.value(), "cannot list {}", source.string())) : Status();
}

Status run(Case& c) {
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("rename-dir", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY(quiet(c));

  const fs::path source = mount.path() / "tree";
  const fs::path target = mount.path() / "moved";
  bool crosses = false;
  SBENCH_TRY(c.timed("rename", [&] {
    return c.op("rename", [&]() -> Status {
      const int outcome = ::rename(source.c_str(), target.c_str());
      crosses = outcome != 0 && errno == EXDEV;
      return crosses ? Status() : called(outcome, "rename", source);
    });
  }));
  if (crosses) {
    SBENCH_TRY(c.timed("copy", [&] { return copy_folder(source, target); }));
    SBENCH_TRY(c.timed("delete", [&] { return remove_tree(source); }));
  }
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  c.metric("exdev", crosses ? 1 : 0);

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
