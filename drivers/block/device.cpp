#include "drivers/block/device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/block/guard.h"

namespace sbench {
namespace {

constexpr std::uint64_t kStatSectorBytes = 512;  // the unit of /sys/class/block/*/stat, whatever the device
constexpr unsigned kLoopMajor = 7;

struct LoopDevice {
  Fd fd;
  std::string path;
  bool direct_io = false;
};

/// Binds `image` to a free loop device; another process may take a free number first, so it retries.
Result<LoopDevice> bind_loop(int image_fd) {
  SBENCH_TRY_SET(Fd control, open_file("/dev/loop-control", O_RDWR));
  for (int attempt = 0; attempt < 64; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) {
      return errno_error("cannot get a free loop device");
    }
    LoopDevice loop;
    loop.path = fmt::format("/dev/loop{}", number);
    auto fd = open_file(loop.path, O_RDWR);
    if (!fd.ok()) {
      return fd.error();
    }
    loop.fd = std::move(*fd);
    loop_config config{};
    config.fd = static_cast<unsigned>(image_fd);
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    if (::ioctl(loop.fd.get(), LOOP_CONFIGURE, &config) != 0) {
      if (errno == EBUSY) {
        continue;
      }
      return errno_error("cannot attach the image to {}", loop.path);
    }
    int writable = 0;  // a number keeps what BLKROSET said of its last image
    loop_info64 info{};
    if (::ioctl(loop.fd.get(), BLKROSET, &writable) != 0 || ::ioctl(loop.fd.get(), LOOP_GET_STATUS64, &info) != 0) {
      return errno_error("cannot inspect {}", loop.path);
    }
    loop.direct_io = (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
    return loop;
  }
  return plain_error(EBUSY, "cannot attach the image: no loop device stayed free in 64 attempts");
}

Result<std::uint64_t> device_size(int fd, const std::string& path) {
  std::uint64_t size_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size_bytes) != 0) {
    return errno_error("cannot read the size of {}", path);
  }
  return size_bytes;
}

/// An image with no name: it vanishes with its last user.
Result<Fd> make_nameless_file(const std::filesystem::path& folder) {
  Fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd.valid()) {
    return fd;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR) {
    return errno_error("cannot make an image file in {}", folder.string());
  }
  std::string name = (folder / "sbench-image-XXXXXX").string();  // file systems without O_TMPFILE
  Fd named(::mkostemp(name.data(), O_CLOEXEC));
  if (!named.valid()) {
    return errno_error("cannot make an image file in {}", folder.string());
  }
  ::unlink(name.c_str());
  return named;
}

}  // namespace

Result<std::unique_ptr<Device>> Device::over_image(int image_fd) {
  SBENCH_TRY_SET(LoopDevice loop, bind_loop(image_fd));
  std::unique_ptr<Device> device(new Device());
  device->kind_ = Kind::loop;
  device->path_ = loop.path;
  device->direct_io_ = loop.direct_io;
  device->fd_ = std::move(loop.fd);
  SBENCH_TRY_SET(device->size_bytes_, device_size(device->fd_.get(), device->path_));
  return device;
}

Result<std::unique_ptr<Device>> Device::make_image(const std::filesystem::path& image_dir, std::uint64_t size_bytes) {
  SBENCH_TRY_SET(Fd image, make_nameless_file(image_dir));
  if (::ftruncate(image.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make an image of {} in {}", human_size(static_cast<double>(size_bytes)),
                       image_dir.string());
  }
  return over_image(image.get());
}

Result<std::unique_ptr<Device>> Device::attach_image(const std::filesystem::path& image) {
  SBENCH_TRY_SET(Fd file, open_file(image, O_RDWR));
  return over_image(file.get());
}

Result<std::unique_ptr<Device>> Device::open_real(const std::filesystem::path& path, Fd claim) {
  if (!claim.valid()) {
    SBENCH_TRY_SET(claim, open_file(path, O_RDONLY | O_EXCL));
  }
  SBENCH_TRY_SET(auto device, open_path(path));
  struct stat claimed {};
  struct stat opened {};
  if (::fstat(claim.get(), &claimed) != 0 || ::fstat(device->fd_.get(), &opened) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  if (claimed.st_rdev != opened.st_rdev) {
    return plain_error(EBUSY, "{} is another device than the one that was looked at", path.string());
  }
  device->named_ = true;
  device->claim_ = std::move(claim);
  return device;
}

Result<std::unique_ptr<Device>> Device::open_shared(const std::filesystem::path& path) {
  return open_path(path);
}

Result<std::unique_ptr<Device>> Device::open_path(const std::filesystem::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDWR));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  if (!S_ISBLK(status.st_mode)) {
    return plain_error(ENOTBLK, "{} is not a block device", path.string());
  }
  std::unique_ptr<Device> device(new Device());
  device->kind_ = ::major(status.st_rdev) == kLoopMajor ? Kind::loop : Kind::real;
  std::error_code ignored;
  const auto resolved = std::filesystem::canonical(path, ignored);
  device->path_ = ignored ? path.string() : resolved.string();
  SBENCH_TRY_SET(device->size_bytes_, device_size(fd.get(), device->path_));
  loop_info64 info{};
  device->direct_io_ = device->kind_ == Kind::real || (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) == 0 &&
                                                        (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0);
  device->fd_ = std::move(fd);
  return device;
}

Result<std::unique_ptr<Device>> Device::take_folder(const std::filesystem::path& folder, std::uint64_t size_bytes) {
  std::unique_ptr<Device> device(new Device());
  device->kind_ = Kind::folder;
  device->path_ = folder.string();
  device->size_bytes_ = size_bytes;
  SBENCH_TRY(device->discard_all());
  return device;
}

Device::~Device() {
  if (kind_ == Kind::folder && !path_.empty()) {
    static_cast<void>(remove_tree(path_));
  }
}

const char* Device::kind_name() const {
  switch (kind_) {
    case Kind::loop: return "loop";
    case Kind::real: return "real";
    case Kind::folder: return "folder";
  }
  return "unknown";
}

IoSource Device::io() {
  if (kind_ != Kind::folder) {
    return {path_, nullptr};
  }
  if (io_.counters == nullptr) {
    io_ = {path_ + "/image", IoSource::make_counters()};
  }
  return io_;
}

Status Device::empty_folder() {
  io_ = {};
  SBENCH_TRY(remove_tree(store_folder()));
  SBENCH_TRY(make_directories(store_folder()));
  SBENCH_TRY_SET(const Fd image, open_file(path_ + "/image", O_RDWR | O_CREAT | O_TRUNC, 0600));
  if (::ftruncate(image.get(), static_cast<off_t>(size_bytes_)) != 0) {
    return errno_error("cannot make an image of {} in {}", human_size(static_cast<double>(size_bytes_)), path_);
  }
  return {};
}

Result<DeviceCounters> Device::counters() const {
  if (kind_ == Kind::folder) {
    return io_.read();
  }
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", path_);
  }
  const auto stat_path = fmt::format("/sys/dev/block/{}:{}/stat", ::major(status.st_rdev), ::minor(status.st_rdev));
  SBENCH_TRY_SET(const std::string text, read_text(stat_path));
  std::istringstream fields(text);
  DeviceCounters counters;
  std::uint64_t merged = 0;
  std::uint64_t sectors = 0;
  std::uint64_t ticks_ms = 0;
  fields >> counters.reads >> merged >> sectors >> ticks_ms;
  counters.bytes_read = sectors * kStatSectorBytes;
  fields >> counters.writes >> merged >> sectors >> ticks_ms;
  counters.bytes_written = sectors * kStatSectorBytes;
  fields >> counters.in_flight >> counters.busy_ms >> ticks_ms;
  if (!fields) {
    return plain_error(EPROTO, "cannot read {}: unexpected content", stat_path);
  }
  fields >> counters.discards >> merged >> sectors >> ticks_ms;  // since Linux 4.18
  counters.bytes_discarded = fields ? sectors * kStatSectorBytes : 0;
  fields >> counters.flushes >> ticks_ms;  // since Linux 5.5
  return counters;
}

Status Device::claim(int patience_ms) {
  if (!named_ || claim_.valid()) {
    return {};
  }
  claim_ = Fd(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!claim_.valid() && errno == EBUSY) {
    SBENCH_TRY(check_unused(path_, patience_ms));
    claim_ = Fd(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  }
  return claim_.valid() ? Status() : Status(errno_error("cannot claim {}", path_));
}

Status Device::discard_all() {
  if (kind_ == Kind::folder) {
    return empty_folder();
  }
  Fd opened;
  int fd = fd_.get();
  if (claim_.valid()) {
    // While something has the device exclusively, the kernel refuses a discard by anybody else as soon as a page of the
    // device's cache is in use (EBUSY). The claim may only read; it is exchanged for one that may write.
    claim_.reset();
    SBENCH_TRY_SET(claim_, open_file(path_, O_RDWR | O_EXCL));
    fd = claim_.get();
  } else if (!fd_.valid()) {
    SBENCH_TRY_SET(opened, open_file(path_, O_RDWR));
    fd = opened.get();
  }
  std::uint64_t range[2] = {0, size_bytes_};
  if (::ioctl(fd, BLKDISCARD, range) != 0 && errno != EOPNOTSUPP && errno != ENOTTY) {
    return errno_error("cannot discard {}", path_);
  }
  // A write of an earlier user that failed after its last fsync(2) is told to the next one who calls it, who has nothing
  // to do with it (mkfs.btrfs ends then, with "Operation not permitted"). It is told once, and what it was about is discarded.
  if (::fsync(fd) != 0 && ::fsync(fd) != 0) {
    return errno_error("cannot flush {}", path_);
  }
  return {};
}

void Device::release_exclusive() {
  claim_.reset();
  if (kind_ == Kind::real) {  // a loop device clears itself at its last close
    fd_.reset();
  }
}

}  // namespace sbench
