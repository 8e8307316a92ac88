#include "drivers/devicemapper/exported_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <sstream>

#include "drivers/base/file.h"

namespace sbench::devicemapper {

namespace {

using thin_pool::DeviceId;
using thin_pool::Pool;

constexpr auto kLeavingStep = std::chrono::milliseconds(20);
constexpr auto kUsersPatience = std::chrono::seconds(20);

/// The number that /proc/devices has for the driver's character devices.
Result<unsigned> character_major() {
  SBENCH_TRY_SET(const std::string text, read_text("/proc/devices"));
  std::istringstream lines(text);
  for (std::string number, name; lines >> number;) {
    if (lines >> name && name == "ublk-char") {
      return static_cast<unsigned>(std::stoul(number));
    }
  }
  return plain_error(ENODEV, "the kernel's /proc/devices lists no ublk-char");
}

/// One thin device as the kernel's requests see it.
class ThinTarget final : public ublk::Target {
 public:
  ThinTarget(Pool& pool, DeviceId id) : pool_(pool), id_(id) {}
  Status read(std::uint64_t offset, std::span<std::byte> buffer) override { return pool_.read(id_, offset, buffer); }
  Status write(std::uint64_t offset, std::span<const std::byte> data) override { return pool_.write(id_, offset, data); }
  Status flush() override { return pool_.flush(); }
  Status discard(std::uint64_t offset, std::uint64_t length) override { return pool_.discard(id_, offset, length); }
  Status zero(std::uint64_t offset, std::uint64_t length) override { return pool_.zero(id_, offset, length); }

 private:
  Pool& pool_;
  DeviceId id_;
};

/// Opens a device node made for the purpose: where the server lives there is no other.
Result<Fd> open_node(const std::string& name, mode_t kind, dev_t device, int flags) {
  const std::string path = "/dev/" + name;
  if (::access(path.c_str(), F_OK) == 0) {
    return open_file(path, flags);
  }
  const std::string own = path + "-own";  // the kernel may make one of the proper name meanwhile
  ::unlink(own.c_str());
  if (::mknod(own.c_str(), kind | 0600, device) != 0) {
    return errno_error("cannot make {}", own);
  }
  auto opened = open_file(own, flags);
  ::unlink(own.c_str());
  return opened;
}

}  // namespace

class ExportedFiles::Shown {
 public:
  Shown(Pool& pool, DeviceId id) : target(pool, id) {}
  ThinTarget target;
  std::unique_ptr<ublk::Export> block_device;
  bool leaving = false;
};

Result<std::unique_ptr<ExportedFiles>> ExportedFiles::make(std::unique_ptr<BlockIo> io, std::unique_ptr<Pool> pool,
                                                           int threads) {
  std::unique_ptr<ExportedFiles> files(new ExportedFiles(std::move(io), std::move(pool), threads));
  SBENCH_TRY_SET(files->control_, ublk::Control::open());
  SBENCH_TRY_SET(files->character_major_, character_major());
  SBENCH_TRY_SET(files->sys_block_, open_file("/sys/block", O_PATH | O_DIRECTORY));
  return files;
}

ExportedFiles::ExportedFiles(std::unique_ptr<BlockIo> io, std::unique_ptr<Pool> pool, int threads)
    : DeviceFiles(std::move(io), std::move(pool)), threads_(threads) {}

ExportedFiles::~ExportedFiles() {
  {
    const std::lock_guard lock(shown_mutex_);
    ending_ = true;
    for (auto& [id, shown] : shown_) {
      shown->leaving = true;
    }
  }
  changed_.notify_all();
  if (watcher_.joinable()) {
    watcher_.join();
  }
  shown_.clear();
}

Status ExportedFiles::unlink(NodeId parent, std::string_view name) {
  SBENCH_TRY_SET(const DeviceId id, parse_name(name));
  const std::lock_guard lock(shown_mutex_);
  if (shown_.contains(id)) {
    return plain_error(EBUSY, "thin device {} is shown as a block device", id);
  }
  return DeviceFiles::unlink(parent, name);
}

Result<std::string> ExportedFiles::xattr(NodeId node, const char* name) {
  if (std::string_view(name) != kBlockDeviceAttribute) {
    return DeviceFiles::xattr(node, name);
  }
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  const std::lock_guard lock(shown_mutex_);
  const auto found = shown_.find(id);
  if (found == shown_.end()) {
    return plain_error(ENODATA, "thin device {} is not shown as a block device", id);
  }
  return fmt::format("ublkb{}", found->second->block_device->id());
}

Status ExportedFiles::set_xattr(NodeId node, const char* name, std::string_view value, int flags) {
  if (std::string_view(name) != kBlockDeviceAttribute) {
    return DeviceFiles::set_xattr(node, name, value, flags);
  }
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  const std::lock_guard lock(shown_mutex_);
  if (const auto found = shown_.find(id); found != shown_.end()) {
    found->second->leaving = false;
    return {};
  }
  return show(id);
}

/// With the lock held.
Status ExportedFiles::show(DeviceId id) {
  SBENCH_TRY_SET(const auto record, pool().device(id));
  if (workers_ == nullptr) {
    workers_ = std::make_unique<ublk::Workers>(threads_);
    watcher_ = std::thread([this] { watch_leaving(); });
  }
  ublk::Shape shape;
  shape.size_bytes = record.size_bytes;
  shape.block_bytes = io().block_bytes();
  shape.chunk_bytes = pool().statistics().chunk_bytes;
  auto shown = std::make_unique<Shown>(pool(), id);
  SBENCH_TRY_SET(shown->block_device, ublk::Export::start(*control_, *workers_, shown->target, shape,
                                                          [this](unsigned number) { return open_character_device(number); }));
  shown_[id] = std::move(shown);
  return {};
}

Status ExportedFiles::remove_xattr(NodeId node, const char* name) {
  if (std::string_view(name) != kBlockDeviceAttribute) {
    return DeviceFiles::remove_xattr(node, name);
  }
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  const std::lock_guard lock(shown_mutex_);
  const auto found = shown_.find(id);
  if (found == shown_.end()) {
    return plain_error(ENODATA, "thin device {} is not shown as a block device", id);
  }
  found->second->leaving = true;
  static_cast<void>(take_down_unused());
  changed_.notify_all();
  return {};
}

Result<Fd> ExportedFiles::open_character_device(unsigned number) const {
  return open_node(fmt::format("ublkc{}", number), S_IFCHR, ::makedev(character_major_, number), O_RDWR);
}

bool ExportedFiles::in_use(unsigned number) const {
  const std::string name = fmt::format("ublkb{}", number);
  const Fd file(::openat(sys_block_.get(), (name + "/dev").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 32> text{};
  unsigned major = 0;
  unsigned minor = 0;
  if (!file.valid() || ::read(file.get(), text.data(), text.size() - 1) <= 0 ||
      std::sscanf(text.data(), "%u:%u", &major, &minor) != 2) {
    return false;  // the kernel has taken it down
  }
  const auto opened = open_node(name, S_IFBLK, ::makedev(major, minor), O_RDONLY | O_EXCL);
  return !opened.ok() && opened.error().code == EBUSY;
}

/// Ends those that leave and have no user; whether any is left that leaves. With the lock held.
bool ExportedFiles::take_down_unused() {
  bool left = false;
  for (auto each = shown_.begin(); each != shown_.end();) {
    const bool leaves = each->second->leaving;
    const bool goes = leaves && !in_use(each->second->block_device->id());
    left = left || (leaves && !goes);
    each = goes ? shown_.erase(each) : std::next(each);
  }
  return left;
}

void ExportedFiles::watch_leaving() {
  std::unique_lock lock(shown_mutex_);
  std::optional<std::chrono::steady_clock::time_point> limit;
  for (;;) {
    const bool left = take_down_unused();
    if (ending_) {
      limit = limit.value_or(std::chrono::steady_clock::now() + kUsersPatience);
      if (!left || std::chrono::steady_clock::now() > *limit) {
        return;
      }
    }
    if (left) {
      changed_.wait_for(lock, kLeavingStep);
    } else {
      changed_.wait(lock);
    }
  }
}

}  // namespace sbench::devicemapper
