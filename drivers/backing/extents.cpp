#include "drivers/backing/extents.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstring>
#include <set>
#include <vector>

#include "drivers/base/file.h"

namespace sbench {

namespace {

constexpr std::uint32_t kExtentsPerCall = 256;

/// Bytes of the file's extents that other files share.
Result<std::uint64_t> shared_bytes(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY | O_NOFOLLOW));
  std::vector<std::uint64_t> memory((sizeof(fiemap) + kExtentsPerCall * sizeof(fiemap_extent)) / sizeof(std::uint64_t) +
                                    1);
  auto* map = reinterpret_cast<fiemap*>(memory.data());
  std::uint64_t shared = 0;
  std::uint64_t start = 0;
  for (bool last = false; !last;) {
    std::memset(map, 0, sizeof *map);
    map->fm_start = start;
    map->fm_length = FIEMAP_MAX_OFFSET - start;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtentsPerCall;
    if (::ioctl(fd.get(), FS_IOC_FIEMAP, map) != 0) {
      return errno_error("cannot map {}", path.string());
    }
    last = map->fm_mapped_extents == 0;
    for (std::uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      shared += (extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0 ? extent.fe_length : 0;
      last = last || (extent.fe_flags & FIEMAP_EXTENT_LAST) != 0;
      start = extent.fe_logical + extent.fe_length;
    }
  }
  return shared;
}

}  // namespace

Result<TreeUsage> measure_unshared(const std::filesystem::path& root) {
  SBENCH_TRY_SET(auto usage, measure_tree(root));
  std::uint64_t shared = 0;
  std::set<ino_t> seen;
  std::error_code failure;
  for (std::filesystem::recursive_directory_iterator it(root, failure), end; !failure && it != end;
       it.increment(failure)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) != 0) {
      return errno_error("cannot inspect {}", it->path().string());
    }
    if (S_ISREG(info.st_mode) && (info.st_nlink == 1 || seen.insert(info.st_ino).second)) {
      SBENCH_TRY_SET(const std::uint64_t bytes, shared_bytes(it->path()));
      shared += bytes;
    }
  }
  if (failure) {
    return make_error(failure.value(), "cannot walk {}", root.string());
  }
  usage.bytes_allocated -= std::min(shared, usage.bytes_allocated);
  return usage;
}

}  // namespace sbench
