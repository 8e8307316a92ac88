#include "workloads/content/move_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "drivers/base/file.h"

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

}  // namespace

Status move_tree(Case& c, const fs::path& source, const fs::path& target) {
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
  c.metric("exdev", crosses ? 1 : 0);
  return {};
}

}  // namespace sbench
