// userspace_engine.cpp: the thin_pool library behind a FUSE server, its devices shown through ublk or loop devices.
//
// One process owns the pool on the device and shows it as a directory of files,
// one for each thin device (thin_pool/device_files.h): making, linking, growing
// and removing files there is how the pool is told what to do. An active device
// is a ublk device that the same process serves (exported_files.h), or a loop device
// with direct I/O over its file; both go with their last user. What the pool holds
// is cached by nobody but the file systems above.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <map>
#include <sstream>
#include <thread>

#include "drivers/backing/mount_point.h"
#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/user_namespace.h"
#include "drivers/block/device.h"
#include "drivers/block/direct_device.h"
#include "drivers/devicemapper/exported_files.h"
#include "drivers/devicemapper/thin_devices.h"
#include "drivers/fuse/pool_place.h"
#include "drivers/fuse/server_process.h"
#include "drivers/thin_pool/device_files.h"
#include "drivers/ublk/control.h"

namespace sbench::devicemapper {

namespace {

namespace fs = std::filesystem;

/// A file's last close reaches the server a moment after the loop device let go of it.
constexpr int kReleasePatience_ms = 5000;
constexpr int kReleaseStep_ms = 1;
constexpr int kSectorBytes = 512;
constexpr const char* kLoopExport = "FUSE files under direct-I/O loop devices";
constexpr const char* kUblkExport = "ublk devices";
/// How long the server of a process that died serves its ublk devices, until their file systems are gone.
constexpr int kUblkLinger_ms = 30'000;
constexpr int kServerThreads = 16;  // most of the time they wait for the device
/// With dm.full=queue: reads and writes at the server at once, more than one loop device's depth of 128; each has a
/// thread, and there are others, so that writes that wait for space keep nobody from freeing it.
constexpr int kTransfersQueueing = 256;

Result<std::string> read_attribute(const fs::path& path, const char* name) {
  std::array<char, 1024> text{};
  const ssize_t length = ::getxattr(path.c_str(), name, text.data(), text.size());
  if (length < 0) {
    return errno_error("cannot read {} of {}", name, path.string());
  }
  return std::string(text.data(), static_cast<std::size_t>(length));
}

/// Nothing is on its way to an active device: its file system is frozen, as dm's suspend does, until this goes.
class Suspended {
 public:
  Suspended() = default;
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;
  ~Suspended() {
    if (frozen_.valid()) {
      ::ioctl(frozen_.get(), FITHAW, 0);
    }
  }

  Status begin(const std::string& block_device) {
    if (const auto target = mount_point_of_device(block_device)) {
      SBENCH_TRY_SET(Fd root, open_file(*target, O_RDONLY | O_DIRECTORY));
      if (::ioctl(root.get(), FIFREEZE, 0) != 0) {
        return errno_error("cannot freeze the file system on {}", target->string());
      }
      frozen_ = std::move(root);
      return {};
    }
    SBENCH_TRY_SET(const Fd fd, open_file(block_device, O_RDWR));
    return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot flush {}", block_device));
  }

 private:
  Fd frozen_;
};

/// One request of the loop device becomes one of FUSE's; larger ones would leave a small rest each. Only speed depends on it.
void fit_requests(const std::string& loop) {
  const auto limit = open_file(fmt::format("/sys/block/{}/queue/max_sectors_kb", loop), O_WRONLY);
  if (limit.ok()) {
    static_cast<void>(write_all(limit->get(), std::to_string(fuse::kTransferBytesMax / kKiB), "max_sectors_kb"));
  }
}

/// Where a server that outlives its process is written down.
fs::path record_of(const fs::path& directory) { return directory.string() + ".server"; }

/// "data_used=1 data_total=2 …", as thin_pool::describe() writes it.
Result<PoolUsage> parse_usage(const std::string& text) {
  std::map<std::string, std::uint64_t> fields;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    if (equals != std::string::npos) {
      std::from_chars(word.data() + equals + 1, word.data() + word.size(), fields[word.substr(0, equals)]);
    }
  }
  for (const char* name : {"data_used", "data_total", "metadata_used", "metadata_total", "transaction", "waiting"}) {
    if (!fields.contains(name)) {
      return plain_error(EPROTO, "the pool's figures lack {}: {}", name, text);
    }
  }
  return PoolUsage{fields["data_used"],      fields["data_total"],  fields["metadata_used"],
                   fields["metadata_total"], fields["transaction"], fields["waiting"]};
}

/// dm.export: whether thin devices are shown through ublk; auto: where the kernel has it.
bool wants_ublk(const Options& options) {
  const auto& wanted = options.at("dm.export");
  return wanted == "ublk" || (wanted == "auto" && ublk::usable().ok());
}

/// In the server's process. `ublk_threads`: 0 without ublk.
Result<std::unique_ptr<FileSystem>> open_pool(const std::string& device, const thin_pool::OpenOptions& options,
                                              const fs::path& directory, int ublk_threads) {
  SBENCH_TRY_SET(auto place, fuse::PoolPlace::take(directory, device));
  SBENCH_TRY_SET(auto io, DirectDevice::open(device));
  SBENCH_TRY_SET(auto pool, thin_pool::Pool::open(*io, options));
  std::move(place).keep();
  if (ublk_threads > 0) {
    SBENCH_TRY_SET(auto files, ExportedFiles::make(std::move(io), std::move(pool), ublk_threads));
    return std::unique_ptr<FileSystem>(std::move(files));
  }
  return std::unique_ptr<FileSystem>(new thin_pool::DeviceFiles(std::move(io), std::move(pool)));
}

/// Starts the server, and returns when it serves the pool on `device` at `directory`.
Result<std::unique_ptr<fuse::ServerProcess>> serve_pool(const std::string& device, const Options& options,
                                                        const fs::path& directory) {
  thin_pool::OpenOptions pool_options;
  pool_options.pass_discards_down = is_on(options, "dm.blkdiscard");
  fuse::ServerOptions server;
  server.session.name = "thin-pool";
  server.session.threads = kServerThreads;
  SBENCH_TRY_SET(const auto queue_time, parse_full(options));
  if (queue_time) {
    pool_options.when_full = thin_pool::WhenFull::queue;
    pool_options.queue_patience_ms = static_cast<int>(std::chrono::milliseconds(*queue_time).count());
    server.session.background_max = kTransfersQueueing;
    server.session.threads = kTransfersQueueing + kServerThreads;
    server.stall_limit_ms += pool_options.queue_patience_ms;
  }
  server.session.passthrough = false;
  server.session.cache_s = 0;
  server.gives_up_mounts = true;
  server.capabilities = fuse::kPoolServerCapabilities;
  int ublk_threads = 0;
  if (wants_ublk(options)) {
    ublk_threads = server.session.threads;
    server.session.threads = 0;  // they are asked little
    server.linger_ms = kUblkLinger_ms;
    server.capabilities = server.capabilities | CapabilitySet{CAP_SYS_ADMIN, CAP_MKNOD};  // ublk's commands, its devices' nodes
  }
  return fuse::ServerProcess::start(directory, server,
                                    [=] { return open_pool(device, pool_options, directory, ublk_threads); });
}

class UserspaceDevices final : public ThinDevices {
 public:
  UserspaceDevices(fs::path directory, std::string device, const Options& options, int block_bytes,
                   std::unique_ptr<fuse::ServerProcess> server, bool stays)
      : directory_(std::move(directory)),
        device_(std::move(device)),
        deferred_removal_(is_on(options, "dm.use_deferred_removal")),
        queue_time_(parse_full(options).value()),
        through_ublk_(wants_ublk(options)),
        block_bytes_(block_bytes),
        server_(std::move(server)),
        stays_(stays) {}

  ~UserspaceDevices() override {
    while (!active_.empty()) {
      let_go(active_.begin());
    }
    if (!stays_) {
      static_cast<void>(while_busy(kReleasePatience_ms, kReleaseStep_ms, [this] { return server_->stop(); }));
    }
    if (through_ublk_) {
      static_cast<void>(ublk::remove_abandoned_exports());  // of a server that died
    }
  }

  Status create(ThinId id, std::uint64_t size_bytes) override {
    if (::mknod(file_of(id).c_str(), S_IFREG | 0600, 0) != 0) {
      return explain("cannot make thin device {}", id);
    }
    return resize(id, size_bytes);
  }

  Status snapshot(ThinId id, ThinId origin) override {
    Suspended suspended;
    if (const auto found = active_.find(origin); found != active_.end()) {
      SBENCH_TRY(suspended.begin(found->second.path));
    }
    if (::link(file_of(origin).c_str(), file_of(id).c_str()) != 0) {
      return explain("cannot make thin device {}, a snapshot of {}", id, origin);
    }
    return {};
  }

  Status remove(ThinId id) override {
    SBENCH_TRY(deactivate(id));
    return while_busy(kReleasePatience_ms, kReleaseStep_ms, [&]() -> Status {
      return ::unlink(file_of(id).c_str()) == 0 ? Status() : explain("cannot remove thin device {}", id);
    });
  }

  Result<fs::path> activate(ThinId id, std::uint64_t size_bytes) override {
    if (const auto found = active_.find(id); found != active_.end()) {
      return found->second.path;
    }
    struct stat status {};
    if (::stat(file_of(id).c_str(), &status) != 0) {
      return explain("cannot activate thin device {}", id);
    }
    if (static_cast<std::uint64_t>(status.st_size) < size_bytes) {
      SBENCH_TRY(resize(id, size_bytes));
    }
    SBENCH_TRY_SET(active_[id], through_ublk_ ? show_through_ublk(id) : show_through_loop(id));
    return active_[id].path;
  }

  Status deactivate(ThinId id) override {
    const auto found = active_.find(id);
    if (found == active_.end()) {
      return {};
    }
    if (!deferred_removal_) {
      SBENCH_TRY(open_file(found->second.path, O_RDONLY | O_EXCL));
    }
    let_go(found);  // whoever still uses the device keeps it, and its last close takes it down
    return {};
  }

  Result<std::uint64_t> own_bytes(ThinId id) override {
    SBENCH_TRY_SET(const std::string text, read_attribute(file_of(id), "user.own_bytes"));
    std::uint64_t bytes = 0;
    std::from_chars(text.data(), text.data() + text.size(), bytes);
    return bytes;
  }

  Result<PoolUsage> usage() override {
    SBENCH_TRY_SET(const std::string text, read_attribute(directory_, "user.pool"));
    return parse_usage(text);
  }

  Status sync() override {
    SBENCH_TRY_SET(const Fd fd, open_file(directory_, O_RDONLY | O_DIRECTORY));
    return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot commit the pool on {}", device_));
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"Data Device", device_},
        {"Export", through_ublk_ ? kUblkExport : kLoopExport},
        {"When Full", queue_time_ ? fmt::format("queue for {} s", queue_time_->count()) : "error"},
        {"Pool Server", std::to_string(server_->pid())}};
    if (const auto now = usage(); now.ok()) {
      rows.emplace_back("Pool Mode", now->waiting_writes > 0 ? "out_of_data_space" : "rw");
    }
    return rows;
  }

  void keep() override {
    if (!stays_) {
      stays_ = server_->leave(record_of(directory_)).ok();
    }
  }

 private:
  struct Active {
    fs::path path;
    std::unique_ptr<Device> loop;  ///< null with ublk
  };

  [[nodiscard]] fs::path file_of(ThinId id) const { return directory_ / std::to_string(id); }

  Result<Active> show_through_loop(ThinId id) {
    SBENCH_TRY_SET(auto device, Device::attach_image(file_of(id)));
    if (!device->direct_io()) {
      return plain_error(ENOTSUP, "{} has no direct I/O to the thin pool: what it writes would be cached twice",
                         device->path());
    }
    const fs::path path = device->path();
    if (block_bytes_ > kSectorBytes) {
      SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDWR));
      if (::ioctl(fd.get(), LOOP_SET_BLOCK_SIZE, static_cast<unsigned long>(block_bytes_)) != 0) {
        return errno_error("cannot give {} blocks of {} bytes", path.string(), block_bytes_);
      }
    }
    fit_requests(path.filename());
    return Active{path, std::move(device)};
  }

  Result<Active> show_through_ublk(ThinId id) {
    if (::setxattr(file_of(id).c_str(), kBlockDeviceAttribute, "shown", 5, 0) != 0) {
      return explain("cannot show thin device {} through ublk", id);
    }
    SBENCH_TRY_SET(const std::string name, read_attribute(file_of(id), kBlockDeviceAttribute));
    const fs::path path = "/dev/" + name;
    SBENCH_TRY(while_busy(kReleasePatience_ms, kReleaseStep_ms, [&]() -> Status {
      return ::access(path.c_str(), F_OK) == 0 ? Status() : plain_error(EBUSY, "{} does not appear", path.string());
    }));
    return Active{path, nullptr};
  }

  void let_go(std::map<ThinId, Active>::iterator active) {
    if (active->second.loop == nullptr) {
      static_cast<void>(::removexattr(file_of(active->first).c_str(), kBlockDeviceAttribute));
    }
    active_.erase(active);
  }

  Status resize(ThinId id, std::uint64_t size_bytes) {
    if (::truncate(file_of(id).c_str(), static_cast<off_t>(size_bytes)) != 0) {
      return explain("cannot give thin device {} its size", id);
    }
    return {};
  }

  /// errno, in the pool's terms.
  template <typename... Args>
  [[nodiscard]] Error explain(fmt::format_string<Args...> format, Args&&... args) const {
    const int code = errno;
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    switch (code) {
      case ENOSPC: return plain_error(code, "{}: the pool's metadata space is full", what);
      case ENOENT: return plain_error(code, "{}: the pool has no such device", what);
      case EEXIST: return plain_error(code, "{}: the pool has one already", what);
      case ENOTCONN:
      case ECONNABORTED: return plain_error(EIO, "{}: the process that serves the pool on {} has died", what, device_);
      case EUCLEAN: return plain_error(code, "{}: the pool is damaged; see sbench check {}", what, device_);
      default: return make_error(code, "{}", what);
    }
  }

  fs::path directory_;
  std::string device_;
  bool deferred_removal_;
  std::optional<std::chrono::seconds> queue_time_;
  bool through_ublk_;
  int block_bytes_;  ///< the smallest transfer that the pool's device takes, and so its thin devices
  std::unique_ptr<fuse::ServerProcess> server_;
  bool stays_;  ///< the pool was found standing, or is kept: active devices stand as long as something is mounted from them
  std::map<ThinId, Active> active_;
};

Availability probe(const Options& options) {
  if (!may_mount()) {
    return Availability::no("mounting needs root (CAP_SYS_ADMIN)", "run sbench as root", EngineClass::userspace);
  }
  if (in_user_namespace()) {
    return Availability::no("a layer is an ext4 or xfs on a block device made of a FUSE file, and both loop devices and such "
                            "file systems are the machine's root's alone, not a user namespace's",
                            "run sbench as root", EngineClass::userspace);
  }
  const Status ublk = ublk::usable();
  if (options.at("dm.export") == "ublk" && !ublk.ok()) {
    return Availability::no(fmt::format("dm.export=ublk: {}", ublk.error().what),
                            "use a kernel with ublk (modprobe ublk_drv), or dm.export=loop", EngineClass::userspace);
  }
  std::vector<std::pair<const char*, const char*>> needed = {{"/dev/fuse", "fuse"}};
  if (!wants_ublk(options)) {
    needed.emplace_back("/dev/loop-control", "loop");
  }
  for (const auto& [device, module] : needed) {
    if (::access(device, R_OK | W_OK) != 0) {
      return Availability::no(fmt::format("the thin pool in user space needs {}", device),
                              fmt::format("use a kernel with it, or load its module: modprobe {}", module),
                              EngineClass::userspace);
    }
  }
  Availability yes = Availability::yes(EngineClass::userspace);
  yes.reason = wants_ublk(options) ? fmt::format("layers are shown by {}", kUblkExport)
                                   : fmt::format("layers are shown by {}; {}", kLoopExport,
                                                 ublk.ok() ? "the kernel has ublk, too" : "the kernel has no ublk");
  return yes;
}

Status format(Device& device, const Options& options) {
  thin_pool::FormatOptions wanted;
  SBENCH_TRY_SET(wanted.chunk_bytes, parse_chunk_bytes(options));
  wanted.skip_zeroing = is_on(options, "dm.skip_block_zeroing");
  device.release_exclusive();
  SBENCH_TRY_SET(const auto io, DirectDevice::open(device.path()));
  return thin_pool::Pool::format(*io, wanted);
}

Result<std::unique_ptr<ThinDevices>> open(Device& device, const Options& options, const fs::path& directory) {
  const bool stands = find_mount(directory).has_value();
  device.release_exclusive();
  SBENCH_TRY_SET(auto server, stands ? fuse::ServerProcess::adopt(directory, record_of(directory))
                                     : serve_pool(device.path(), options, directory));
  int block_bytes = kSectorBytes;
  SBENCH_TRY_SET(const Fd fd, open_file(device.path(), O_RDONLY));
  if (::ioctl(fd.get(), BLKSSZGET, &block_bytes) != 0) {
    return errno_error("cannot read the block size of {}", device.path());
  }
  auto devices = std::make_unique<UserspaceDevices>(directory, device.path(), options, block_bytes, std::move(server), stands);
  SBENCH_TRY(devices->usage());  // whoever served an adopted directory may have died
  return std::unique_ptr<ThinDevices>(std::move(devices));
}

}  // namespace

const Engine& userspace_engine() {
  static const Engine engine = {"userspace", EngineClass::userspace, probe, format, open};
  return engine;
}

}  // namespace sbench::devicemapper
