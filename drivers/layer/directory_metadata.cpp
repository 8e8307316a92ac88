#include "drivers/layer/directory_metadata.h"

#include <fcntl.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

Status set_metadata(int fd, const std::string& path, const ReadEntry& entry) {
  if (::fchown(fd, entry.uid, entry.gid) != 0 || ::fchmod(fd, entry.mode & 07777) != 0) {
    return errno_error("cannot set owner and mode of {}", path);
  }
  SBENCH_TRY(remove_other_xattrs(fd, ".", entry.xattrs, path));
  SBENCH_TRY(write_xattrs(fd, ".", entry.xattrs, path));
  const timespec times[2] = {{0, UTIME_OMIT}, entry.mtime};
  if (::futimens(fd, times) != 0) {
    return errno_error("cannot set the time of {}", path);
  }
  return {};
}

}  // namespace

void DirectoryMetadata::add(const std::string& path, const struct stat& status, const ReadEntry& entry) {
  directories_.insert_or_assign(std::pair(status.st_dev, status.st_ino), Metadata{path, entry});
}

Status DirectoryMetadata::apply(ContainedRoot& root) const {
  using Row = std::pair<const std::pair<dev_t, ino_t>, Metadata>;
  std::vector<const Row*> rows;
  for (const auto& row : directories_) {
    rows.push_back(&row);
  }
  std::sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) {
    const auto depth = [](const Row* row) { return std::count(row->second.path.begin(), row->second.path.end(), '/'); };
    return std::tuple(a->second.path == ".", -depth(a), std::string_view(a->second.path)) <
           std::tuple(b->second.path == ".", -depth(b), std::string_view(b->second.path));
  });
  for (const Row* row : rows) {
    const auto fd = root.open_directory(row->second.path);
    struct stat status {};
    if (!fd.ok() || ::fstat(fd->get(), &status) != 0 || std::pair(status.st_dev, status.st_ino) != row->first) {
      continue;  // a later entry of the tar put something else there
    }
    SBENCH_TRY(set_metadata(fd->get(), row->second.path, row->second.entry));
  }
  return {};
}

}  // namespace sbench
