#include "drivers/union_fs/branches.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstring>

#include "drivers/base/file.h"

namespace sbench::union_fs {
namespace {

// Debian 12's headers are older than this request (Linux 6.9).
struct FsUuid {
  std::uint8_t size;
  std::uint8_t uuid[16];
};
constexpr unsigned long kGetFsUuid = _IOR(0x15, 0, FsUuid);

std::optional<std::array<std::uint8_t, 16>> uuid_of(int fd) {
  FsUuid answer{};
  if (::ioctl(fd, kGetFsUuid, &answer) != 0 || answer.size != sizeof answer.uuid) {
    return std::nullopt;
  }
  std::array<std::uint8_t, 16> uuid{};
  std::memcpy(uuid.data(), answer.uuid, uuid.size());
  return uuid;
}

}  // namespace

Result<Branches> Branches::open(const std::optional<std::filesystem::path>& upper,
                                const std::vector<std::filesystem::path>& lower) {
  Branches result;
  const auto add = [&](const std::filesystem::path& path) -> Status {
    SBENCH_TRY_SET(Fd root, open_file(path, O_RDONLY | O_DIRECTORY));
    struct stat status {};
    if (::fstat(root.get(), &status) != 0) {
      return errno_error("cannot stat {}", path.string());
    }
    std::size_t number = 0;
    while (number < result.file_systems_.size() && result.file_systems_[number].device != status.st_dev) {
      number += 1;
    }
    if (number == result.file_systems_.size()) {
      result.file_systems_.push_back({status.st_dev, uuid_of(root.get())});
    }
    result.branches_.push_back({std::make_shared<const Fd>(std::move(root)), static_cast<std::uint16_t>(number)});
    return {};
  };
  if (upper) {
    SBENCH_TRY(add(*upper));
  } else {
    result.branches_.emplace_back();
  }
  for (const auto& path : lower) {
    SBENCH_TRY(add(path));
  }
  return result;
}

}  // namespace sbench::union_fs
