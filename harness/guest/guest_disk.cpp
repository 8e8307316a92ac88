#include "harness/guest/guest_disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "drivers/base/file.h"
#include "harness/guest/guest_init.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDisk = "/dev/ubd";  // and a letter, in the order of GuestJob::disks
constexpr useconds_t kDiskPoll_us = 10'000;
constexpr int kPatience_polls = 3000;  // a host that does not answer in half a minute never will

fs::path request_of(const fs::path& exchange, std::size_t disk) { return exchange / fmt::format("discard-{}", disk); }
fs::path done(fs::path request) { return request += ".done"; }
fs::path refused(fs::path request) { return request += ".refused"; }

/// What this kernel keeps of the disk in its cache is written and forgotten.
Status forget_cached(const std::string& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDWR));
  return ::ioctl(fd.get(), BLKFLSBUF, 0) == 0 ? Status() : Status(errno_error("cannot empty the cache of {}", path));
}

/// Whether the host did it.
Result<bool> ask_host(const fs::path& request) {
  SBENCH_TRY(write_text_atomic(request, "\n"));
  for (int poll = 0; poll < kPatience_polls; ++poll) {
    if (::unlink(done(request).c_str()) == 0) {
      return true;
    }
    if (::unlink(refused(request).c_str()) == 0) {
      return false;
    }
    ::usleep(kDiskPoll_us);
  }
  return plain_error(ETIME, "the host does not answer to {}", request.string());
}

bool punch(const std::string& disk) {
  struct stat status {};
  const auto file = open_file(disk, O_RDWR);
  return file.ok() && ::fstat(file->get(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::fallocate(file->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, status.st_size) == 0;
}

}  // namespace

Status discard_whole(Device& device) {
  const char* exchange = std::getenv(kGuestExchange);
  const std::string& path = device.path();
  const std::string_view prefix(kDisk);
  if (exchange == nullptr || !inside_user_mode_linux() || !path.starts_with(prefix) || path.size() != prefix.size() + 1) {
    return device.discard_all();
  }
  SBENCH_TRY(forget_cached(path));
  SBENCH_TRY_SET(const bool empty, ask_host(request_of(exchange, static_cast<std::size_t>(path.back() - 'a'))));
  return empty ? forget_cached(path) : device.discard_all();
}

void serve_discards(const fs::path& exchange, const std::vector<std::string>& disks) {
  for (std::size_t disk = 0; disk < disks.size(); ++disk) {
    const fs::path request = request_of(exchange, disk);
    if (::access(request.c_str(), F_OK) == 0) {
      const fs::path answer = punch(disks[disk]) ? done(request) : refused(request);
      static_cast<void>(::rename(request.c_str(), answer.c_str()));
    }
  }
}

}  // namespace sbench
