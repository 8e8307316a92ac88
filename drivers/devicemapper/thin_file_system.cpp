#include "drivers/devicemapper/thin_file_system.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <sstream>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"

namespace sbench::devicemapper {

namespace {

Status run_mkfs(std::vector<std::string> command, const std::filesystem::path& block_device) {
  command.push_back(block_device);
  SBENCH_TRY_SET([[maybe_unused]] const auto output, run_checked(command));
  return {};
}

}  // namespace

Status make_file_system(const std::filesystem::path& block_device, const Options& options) {
  std::vector<std::string> command = {"mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"};
  if (options.at("dm.fs") == "xfs") {
    command = {"mkfs.xfs", "-q", "-f", "-K"};
  }
  std::istringstream words(options.at("dm.mkfsarg"));
  for (std::string word; words >> word;) {
    command.push_back(word);
  }
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
