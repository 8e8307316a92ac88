#include "drivers/devicemapper/thin_file_system.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"

namespace sbench::devicemapper {

namespace {

Status run_mkfs(std::vector<std::string> command, const std::filesystem::path& block_device) {
  command.push_back(block_device);
  SBENCH_TRY_SET([[maybe_unused]] const auto output, run_checked(command));
  return {};
}

/// mke2fs.conf's "small" file systems have blocks of 1 KiB.
constexpr std::uint64_t kExt4SmallBytes = 512 * kMiB;
/// Larger chunks are no stripe unit to mkfs.xfs.
constexpr std::uint64_t kXfsUnitBytesMax = kMiB;

Result<bool> tells_chunk(const std::filesystem::path& block_device, std::uint64_t chunk_bytes) {
  SBENCH_TRY_SET(const Fd fd, open_file(block_device, O_RDONLY));
  unsigned best_bytes = 0;
  if (::ioctl(fd.get(), BLKIOOPT, &best_bytes) != 0) {
    return errno_error("cannot ask {} for its best request", block_device.string());
  }
  return best_bytes == chunk_bytes;
}

/// Whether an option is given, also together with its value ("-b4096").
bool names_one_of(const std::vector<std::string>& words, std::initializer_list<std::string_view> options) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return std::any_of(options.begin(), options.end(), [&](std::string_view option) { return word.starts_with(option); });
  });
}

}  // namespace

Status make_file_system(const std::filesystem::path& block_device, std::uint64_t size_bytes, std::uint64_t chunk_bytes,
                        const Options& options) {
  std::istringstream words(options.at("dm.mkfsarg"));
  const std::vector<std::string> more{std::istream_iterator<std::string>(words), {}};
  SBENCH_TRY_SET(const bool knows_chunk, tells_chunk(block_device, chunk_bytes));
  std::vector<std::string> command;
  if (options.at("dm.fs") == "xfs") {
    command = {"mkfs.xfs", "-q", "-f", "-K"};
    if (!knows_chunk && chunk_bytes <= kXfsUnitBytesMax && !names_one_of(more, {"-d"})) {
      command.insert(command.end(), {"-d", fmt::format("su={},sw=1", chunk_bytes)});
    }
  } else {
    std::string extended = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    if (!knows_chunk && !names_one_of(more, {"-b", "-T"})) {
      const std::uint64_t blocks = chunk_bytes / (size_bytes < kExt4SmallBytes ? 1024 : 4096);
      extended += fmt::format(",stride={0},stripe_width={0}", blocks);
    }
    command = {"mkfs.ext4", "-q", "-F", "-E", extended};
  }
  command.insert(command.end(), more.begin(), more.end());
  return run_mkfs(command, block_device);
}

Status mount_file_system(const std::filesystem::path& block_device, const std::filesystem::path& target,
                         const Options& options, bool read_only) {
  const auto& type = options.at("dm.fs");
  std::string data = type == "xfs" ? "nouuid" : "";
  if (const auto& more = options.at("dm.mountopt"); !more.empty()) {
    data += (data.empty() ? "" : ",") + more;
  }
  const unsigned long flags = MS_NOATIME | (read_only ? MS_RDONLY : 0);
  if (::mount(block_device.c_str(), target.c_str(), type.c_str(), flags, data.c_str()) != 0) {
    return errno_error("cannot mount {} as {} on {}", block_device.string(), type, target.string());
  }
  return {};
}

Status make_store(const std::filesystem::path& block_device, std::uint64_t size_bytes, std::uint64_t chunk_bytes) {
  {
    SBENCH_TRY_SET(const Fd fd, open_file(block_device, O_WRONLY));
    const std::string zeros(4096, '\0');
    for (std::uint64_t at = 0; at < size_bytes; at += chunk_bytes) {
      if (::pwrite(fd.get(), zeros.data(), zeros.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(zeros.size())) {
        return errno_error("cannot write to {}", block_device.string());
      }
    }
    if (::fsync(fd.get()) != 0) {
      return errno_error("cannot write to {}", block_device.string());
    }
  }
  return run_mkfs({"mkfs.ext4", "-q", "-F", "-b", "4096", "-i", "2048", "-m", "0", "-J", "size=4", "-E",
                   "nodiscard,lazy_itable_init=0,lazy_journal_init=0"},
                  block_device);
}

}  // namespace sbench::devicemapper
