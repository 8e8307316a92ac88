#include "drivers/zfs/partition.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <thread>

#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"

namespace sbench::zfs {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTableBytes = 512;
constexpr std::size_t kFirstEntry = 446;
constexpr std::uint64_t kStartBytes = kMiB;
constexpr int kPatience_ms = 3000;
constexpr int kStep_ms = 5;

fs::path sysfs_of(const Device& device) {
  return fs::path("/sys/class/block") / fs::path(device.path()).filename();
}

bool is_partition(const Device& device) { return fs::exists(sysfs_of(device) / "partition"); }

/// "/dev/sdb1", where the kernel shows one.
std::optional<std::string> shown_partition(const Device& device) {
  std::error_code failure;
  for (fs::directory_iterator it(sysfs_of(device), failure), end; !failure && it != end; it.increment(failure)) {
    if (fs::exists(it->path() / "partition")) {
      return "/dev/" + it->path().filename().string();
    }
  }
  return std::nullopt;
}

/// Loop devices show partitions only when asked to.
Status allow_partitions(const Device& device, int fd) {
  if (!fs::exists(sysfs_of(device) / "loop")) {
    return {};
  }
  loop_info64 info{};
  if (::ioctl(fd, LOOP_GET_STATUS64, &info) != 0) {
    return errno_error("cannot read the state of {}", device.path());
  }
  info.lo_flags |= LO_FLAGS_PARTSCAN;
  if (::ioctl(fd, LOOP_SET_STATUS64, &info) != 0) {
    return errno_error("cannot let {} have partitions", device.path());
  }
  return {};
}

/// The kernel reads the table, once nothing else keeps it from that.
Status read_table(const Device& device) {
  SBENCH_TRY_SET(const Fd fd, open_file(device.path(), O_RDONLY));
  SBENCH_TRY(allow_partitions(device, fd.get()));
  return while_busy(kPatience_ms, kStep_ms, [&] {
    return ::ioctl(fd.get(), BLKRRPART, 0) == 0
               ? Status()
               : Status(errno_error("the kernel cannot read the partition table of {}", device.path()));
  });
}

}  // namespace

Status write_partition_table(const Device& device) {
  if (is_partition(device)) {
    return {};
  }
  SBENCH_TRY_SET(const Fd fd, open_file(device.path(), O_RDWR));
  int block_bytes = 0;
  if (::ioctl(fd.get(), BLKSSZGET, &block_bytes) != 0) {
    return errno_error("cannot read the block size of {}", device.path());
  }
  const auto unit = static_cast<std::uint64_t>(block_bytes);
  const std::uint64_t start = kStartBytes / unit;
  const std::uint64_t count = device.size_bytes() / unit - start;
  if (count > std::numeric_limits<std::uint32_t>::max()) {
    return plain_error(EFBIG, "{} is too large for the partition table that zfs gets here; name a partition of it",
                       device.path());
  }
  struct Entry {
    std::uint8_t bootable = 0;
    std::uint8_t first_chs[3] = {0xfe, 0xff, 0xff};  // "see the block numbers"
    std::uint8_t type = 0xbf;                        // Solaris
    std::uint8_t last_chs[3] = {0xfe, 0xff, 0xff};
    std::uint32_t start_le = 0;
    std::uint32_t count_le = 0;
  } entry;
  static_assert(sizeof(Entry) == 16);
  entry.start_le = htole32(static_cast<std::uint32_t>(start));
  entry.count_le = htole32(static_cast<std::uint32_t>(count));
  std::array<char, kTableBytes> table{};
  std::memcpy(table.data() + kFirstEntry, &entry, sizeof entry);
  table[kTableBytes - 2] = '\x55';
  table[kTableBytes - 1] = static_cast<char>(0xaa);
  SBENCH_TRY(write_all(fd.get(), {table.data(), table.size()}, device.path()));
  if (::fsync(fd.get()) != 0) {
    return errno_error("cannot flush {}", device.path());
  }
  return read_table(device);
}

Result<std::string> partition_of(const Device& device) {
  if (is_partition(device)) {
    return device.path();
  }
  auto partition = shown_partition(device);
  if (!partition) {
    SBENCH_TRY(read_table(device));
    partition = shown_partition(device);
  }
  if (!partition) {
    return plain_error(EINVAL, "{} has no partition: it was not formatted for zfs, or its kernel shows none", device.path());
  }
  for (int waited_ms = 0; ::access(partition->c_str(), F_OK) != 0; waited_ms += kStep_ms) {
    if (waited_ms >= kPatience_ms) {
      return plain_error(ENOENT, "the kernel has {}, but nothing in /dev shows it", *partition);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kStep_ms));
  }
  return *partition;
}

void forget_partition(const Device& device) {
  const auto fd = open_file(device.path(), O_RDONLY);
  if (is_partition(device) || !fd.ok()) {
    return;
  }
  blkpg_partition partition{};
  partition.pno = 1;
  blkpg_ioctl_arg request{BLKPG_DEL_PARTITION, 0, sizeof partition, &partition};
  ::ioctl(fd->get(), BLKPG, &request);  // one in use stays, and goes with the device
}

}  // namespace sbench::zfs
