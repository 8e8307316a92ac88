#include "drivers/base/durable.h"

#include <fcntl.h>

#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"

namespace sbench {

namespace fs = std::filesystem;

Status sync_directory(const fs::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", path.string()));
}

Status make_durable_directories(const fs::path& path) {
  std::vector<fs::path> missing;  // from below
  std::error_code ignored;
  const fs::path wanted = fs::absolute(path).lexically_normal();
  for (fs::path at = wanted; at != at.parent_path() && !fs::exists(at, ignored); at = at.parent_path()) {
    missing.push_back(at);
  }
  SBENCH_TRY(make_directories(wanted));
  for (const auto& made : missing) {
    SBENCH_TRY(sync_directory(made.parent_path()));
  }
  return {};
}

}  // namespace sbench
