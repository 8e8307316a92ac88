// devicemapper.cpp: the devicemapper driver: a thin device a layer, a snapshot of its parent's.
//
// Thin devices: 0 holds the driver's own tables (ext4), 1 is the base device
// with an empty file system, made once; every layer is a snapshot of its
// parent's device, or of the base, so all descend from one mkfs. Device 0 is
// allocated in full when it is made: its tables can be written when the pool is full.
//
// Below the root directory: pool/ (mounts of the engine's own) and store/, the
// file system of device 0: table/, shown/ (BackedDriver), devices/ID (a link to
// the layer's device number; a link, as LayerTable's rows are) and mnt/ID, where
// a layer is mounted while shown. Its tree is rootfs/ there, beside Docker's `id` file.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "drivers/backing/mount_point.h"
#include "drivers/backing/numbered_driver.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/devicemapper/thin_devices.h"
#include "drivers/devicemapper/thin_file_system.h"
#include "drivers/driver.h"

namespace sbench {

namespace devicemapper {

namespace {

constexpr ThinId kStoreDevice = 0;
constexpr ThinId kBaseDevice = 1;
constexpr ThinId kFirstLayerDevice = 2;
constexpr ThinId kThinIds = 1u << 24;
constexpr std::uint64_t kStoreBytes = 32 * kMiB;
constexpr std::uint64_t kBaseBytesDefault = 10 * kGiB;  // Docker's
constexpr std::uint64_t kMetadataBytesMin = 4 * kMiB;
constexpr int kUnmountPatience_ms = 2000;

/// What the file system of dm.fs takes at least.
std::uint64_t base_bytes_min(const Options& options) { return (options.at("dm.fs") == "xfs" ? 300 : 16) * kMiB; }

/// dm.basesize; auto: Docker's 10 GiB, or the four fifths of a smaller device that leave room for its other layers. Not
/// of the pool: what its metadata leaves differs by engine, and mkfs would lay out two file systems.
Result<std::uint64_t> base_bytes(const Options& options, std::uint64_t device_bytes) {
  const auto& text = options.at("dm.basesize");
  std::uint64_t bytes = 0;
  if (text == "auto") {
    bytes = std::max(std::min(kBaseBytesDefault, device_bytes / 5 * 4), base_bytes_min(options));
    return bytes / kMiB * kMiB;
  }
  try {
    bytes = parse_size(text, "dm.basesize");
  } catch (const UsageError& error) {
    return plain_error(EINVAL, "{}", error.what());
  }
  if (bytes < base_bytes_min(options) || bytes % kMiB != 0) {
    return plain_error(EINVAL, "dm.basesize: {} takes whole MiB, at least {}, not {}", options.at("dm.fs"),
                       format_size(base_bytes_min(options)), text);
  }
  return bytes;
}

/// dm.min_free_space, "10%" → 10.
Result<unsigned> min_free_percent(const Options& options) {
  const auto& text = options.at("dm.min_free_space");
  unsigned percent = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (failure != std::errc() || std::string_view(end) != "%" || percent > 99) {
    return plain_error(EINVAL, "dm.min_free_space: '{}' is not a share; write for example 10%", text);
  }
  return percent;
}

const Engine& pick_engine(const Options& options) {
  const auto& wanted = options.at("engine");
  if (wanted == "kernel" || (wanted == "auto" && kernel_engine().probe(options).available)) {
    return kernel_engine();
  }
  return userspace_engine();
}

Status check_options(const Options& options) {
  SBENCH_TRY_SET([[maybe_unused]] const auto chunk, parse_chunk_bytes(options));
  SBENCH_TRY_SET([[maybe_unused]] const auto base, base_bytes(options, kBaseBytesDefault));
  SBENCH_TRY_SET([[maybe_unused]] const auto floor, min_free_percent(options));
  SBENCH_TRY_SET([[maybe_unused]] const auto full, parse_full(options));
  return {};
}

Availability probe(const Options& options) {
  if (const auto status = check_options(options); !status.ok()) {
    return Availability::no(status.error().what, "change the options");
  }
  const auto& type = options.at("dm.fs");
  for (const auto* needed : {"ext4", type.c_str()}) {  // ext4 also keeps the driver's tables
    if (find_program(std::string("mkfs.") + needed).empty() || !kernel_has_file_system(needed)) {
      return Availability::no(fmt::format("it needs {}: the kernel's file system and mkfs.{}", needed, needed),
                              "install e2fsprogs or xfsprogs, or choose another dm.fs");
    }
  }
  const bool in_files = options.at("pool") == "loop-lvm";
  if (options.at("engine") == "userspace" && in_files) {
    return Availability::no("pool=loop-lvm is a shape of the kernel's dm-thin alone", "use pool=device or engine=kernel",
                            EngineClass::userspace);
  }
  Availability kernel = kernel_engine().probe(options);
  if (options.at("engine") == "kernel" || kernel.available || in_files) {
    return kernel;
  }
  Availability userspace = userspace_engine().probe(options);
  if (userspace.available && options.at("engine") == "auto") {
    userspace.reason = kernel.reason + "; " + userspace.reason;  // for doctor: why this engine
  }
  return userspace.available || options.at("engine") == "userspace" ? userspace : kernel;
}

Status format(Device& device, const Options& options) {
  SBENCH_TRY(check_options(options));
  const std::uint64_t bytes_min = kStoreBytes + base_bytes_min(options) + kMetadataBytesMin;
  if (device.size_bytes() < bytes_min) {
    return plain_error(ENOSPC, "{} is too small for devicemapper: it has {}, at least {} are needed", device.path(),
                       human_size(static_cast<double>(device.size_bytes())), format_size(bytes_min));
  }
  return pick_engine(options).format(device, options);
}

/// Keeps the pool alive longer than the file system that BackedDriver mounted from it.
struct PoolHolder {
  std::unique_ptr<ThinDevices> pool;
  std::uint64_t base_size_bytes = 0;
};

class DevicemapperDriver final : private PoolHolder, public NumberedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY(check_options(options));
    SBENCH_TRY(make_directories(root / "pool"));
    SBENCH_TRY(make_directories(root / "store"));
    const Engine& engine = pick_engine(options);
    PoolHolder holder;
    SBENCH_TRY_SET(holder.pool, engine.open(device, options, root / "pool"));
    SBENCH_TRY_SET(holder.base_size_bytes, base_bytes(options, device.size_bytes()));
    SBENCH_TRY_SET(auto store, open_tables(holder, options, root / "store"));
    SBENCH_TRY_SET(auto ids, LayerNumbers::open(root / "store" / "devices", kFirstLayerDevice, kThinIds));
    return std::unique_ptr<Driver>(
        new DevicemapperDriver(std::move(holder), std::move(store), engine, options, std::move(ids), root / "store" / "mnt"));
  }

  ~DevicemapperDriver() override { leave_mounts(); }

  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY(table().find(id));
    SBENCH_TRY(sync_if_shown(id));
    SBENCH_TRY_SET(const std::uint64_t bytes, pool->own_bytes(numbers().at(id)));
    return Usage{bytes, 0};
  }

  Result<Usage> store_usage() override {
    SBENCH_TRY_SET(const auto used, pool->usage());
    return Usage{used.data_bytes_used + used.metadata_bytes_used, 0};
  }

  Status sync() override {
    SBENCH_TRY(sync_shown());
    SBENCH_TRY(BackedDriver::sync());
    return pool->sync();
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"Engine", engine_.name},
        {"Pool Blocksize", format_size(parse_chunk_bytes(options_).value())},
        {"Base Device Size", format_size(base_size_bytes)},
        {"Backing Filesystem", options_.at("dm.fs")},
        {"Layers", std::to_string(table().rows().size())},
    };
    if (const auto used = pool->usage(); used.ok()) {
      rows.emplace_back("Data Space Used", human_size(static_cast<double>(used->data_bytes_used)));
      rows.emplace_back("Data Space Total", human_size(static_cast<double>(used->data_bytes_total)));
      rows.emplace_back("Metadata Space Used", human_size(static_cast<double>(used->metadata_bytes_used)));
      rows.emplace_back("Metadata Space Total", human_size(static_cast<double>(used->metadata_bytes_total)));
    }
    for (auto& row : pool->status()) {
      rows.push_back(std::move(row));
    }
    return rows;
  }

  Capabilities capabilities() const override { return {}; }

 private:
  DevicemapperDriver(PoolHolder holder, Store store, const Engine& engine, Options options, LayerNumbers ids,
                     std::filesystem::path mounts)
      : PoolHolder(std::move(holder)),
        NumberedDriver(std::move(store), std::move(ids), std::move(mounts)),
        engine_(engine),
        options_(std::move(options)) {}

  /// Mounts device 0, or adopts it, and opens the tables on it.
  static Result<Store> open_tables(PoolHolder& holder, const Options& options, const std::filesystem::path& store) {
    std::string path;
    if (is_mount_point(store)) {
      path = find_mount(store).value_or(MountedFileSystem{}).source;
    } else {
      SBENCH_TRY(make_first_devices(holder, options));
      SBENCH_TRY_SET(path, holder.pool->activate(kStoreDevice, kStoreBytes));
    }
    SBENCH_TRY_SET(const auto device, Device::open_shared(path));
    SBENCH_TRY_SET(auto backing, Backing::mount(*device, BackingType::ext4, store));
    return open_store(std::move(backing), describe_maker("devicemapper", options, "dm.mountopt"));
  }

  /// The base device comes into being last, and whole: a snapshot of the one that mkfs ran on.
  /// Where it is missing, the pool is new or its maker was killed, and nothing in it is of use.
  static Status make_first_devices(PoolHolder& holder, const Options& options) {
    ThinDevices& pool = *holder.pool;
    if (const auto base = pool.activate(kBaseDevice, holder.base_size_bytes); base.ok()) {
      return pool.deactivate(kBaseDevice);
    } else if (base.error().code != ENOENT) {
      return base.error();
    }
    SBENCH_TRY_SET(const auto chunk_bytes, parse_chunk_bytes(options));
    SBENCH_TRY(make_device(pool, kStoreDevice, kStoreBytes, [chunk_bytes](const std::filesystem::path& path) {
      return make_store(path, kStoreBytes, chunk_bytes);
    }));
    SBENCH_TRY(make_device(pool, kFirstLayerDevice, holder.base_size_bytes, [&](const std::filesystem::path& path) {
      return make_file_system(path, holder.base_size_bytes, chunk_bytes, options);
    }));
    SBENCH_TRY(pool.snapshot(kBaseDevice, kFirstLayerDevice));
    SBENCH_TRY(pool.remove(kFirstLayerDevice));
    return pool.sync();
  }

  template <typename Fill>
  static Status make_device(ThinDevices& pool, ThinId id, std::uint64_t size_bytes, Fill&& fill) {
    SBENCH_TRY(forget_device(pool, id));
    SBENCH_TRY(pool.create(id, size_bytes));
    SBENCH_TRY_SET(const auto path, pool.activate(id, size_bytes));
    SBENCH_TRY(fill(path));
    return pool.deactivate(id);
  }

  static Status forget_device(ThinDevices& pool, ThinId id) {
    const Status removed = pool.remove(id);
    return removed.ok() || removed.error().code == ENOENT ? Status() : removed;
  }

  Status forget(ThinId id) override { return forget_device(*pool, id); }
  void keep_pool() override { pool->keep(); }

  Status check_free_space() const {
    SBENCH_TRY_SET(const auto used, pool->usage());
    SBENCH_TRY_SET(const unsigned percent, min_free_percent(options_));
    const auto below = [percent](std::uint64_t in_use, std::uint64_t total) {
      return static_cast<double>(total - in_use) * 100.0 < static_cast<double>(total) * percent;
    };
    const bool data = below(used.data_bytes_used, used.data_bytes_total);
    if (data || below(used.metadata_bytes_used, used.metadata_bytes_total)) {
      return plain_error(ENOSPC, "the pool has less than {} of its {} free: remove layers, or lower dm.min_free_space",
                         options_.at("dm.min_free_space"), data ? "data space" : "metadata space");
    }
    return {};
  }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    SBENCH_TRY(check_free_space());
    const ThinId id = numbers().free_number();
    SBENCH_TRY(forget(id));  // no layer has it: a killed process made it
    SBENCH_TRY(numbers().set(key, id));
    return pool->snapshot(id, parent ? numbers().at(*parent) : kBaseDevice);
  }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    const auto target = mount_of(id);
    if (is_mount_point(target)) {
      return Shown{target / "rootfs", true};
    }
    SBENCH_TRY(make_directories(target));
    const bool read_only = row.kind == LayerTable::Kind::committed;
    SBENCH_TRY_SET(const auto path, pool->activate(numbers().at(id), base_size_bytes));
    Status ready = mount_file_system(path, target, options_, read_only);
    if (ready.ok()) {
      is_shown(id);
      ready = make_rootfs(id, read_only);
    }
    if (!ready.ok()) {
      static_cast<void>(hide_layer(id));  // the first error is the one to report
      return ready.error();
    }
    return Shown{target / "rootfs", false};
  }

  /// A layer without ancestors gets its empty tree at its first mount; snapshots have their parent's.
  Status make_rootfs(const LayerId& id, bool read_only) const {
    const auto tree = mount_of(id) / "rootfs";
    if (::access(tree.c_str(), F_OK) == 0) {
      return {};
    }
    if (read_only) {  // committed without ever having been mounted
      if (::mount(nullptr, mount_of(id).c_str(), nullptr, MS_REMOUNT | MS_NOATIME, nullptr) != 0) {
        return errno_error("cannot remount {}", mount_of(id).string());
      }
    }
    if (::mkdir(tree.c_str(), 0755) != 0 || ::chmod(tree.c_str(), 0755) != 0) {
      return errno_error("cannot make {}", tree.string());
    }
    SBENCH_TRY_SET(const Fd file, open_file(mount_of(id) / "id", O_WRONLY | O_CREAT, 0600));
    return write_all(file.get(), id, "the layer's id");
  }

  Status hide_layer(const LayerId& id) override {
    if (is_mount_point(mount_of(id))) {
      SBENCH_TRY(unmount(mount_of(id), kUnmountPatience_ms));
    }
    is_hidden(id);
    SBENCH_TRY(pool->deactivate(numbers().at(id)));
    ::rmdir(mount_of(id).c_str());
    return {};
  }

  const Engine& engine_;
  Options options_;
};

}  // namespace

Result<std::uint64_t> parse_chunk_bytes(const Options& options) {
  std::uint64_t bytes = 0;
  const auto& text = options.at("dm.blocksize");
  if (text == "auto") {
    return options.at("pool") == "direct-lvm" ? 512 * kKiB : 64 * kKiB;
  }
  try {
    bytes = parse_size(text, "dm.blocksize");
  } catch (const UsageError& error) {
    return plain_error(EINVAL, "{}", error.what());
  }
  if (bytes < 64 * kKiB || bytes > kGiB || bytes % (64 * kKiB) != 0) {
    return plain_error(EINVAL, "dm.blocksize: chunks have 64K to 1G, in multiples of 64K, not {}", text);
  }
  return bytes;
}

Result<std::optional<std::chrono::seconds>> parse_full(const Options& options) {
  constexpr int kSecondsMax = 86'400;
  const auto& text = options.at("dm.full_timeout");
  int seconds = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (failure != std::errc() || *end != '\0' || seconds < 1 || seconds > kSecondsMax) {
    return plain_error(EINVAL, "dm.full_timeout: '{}' is no number of seconds from 1 to {}", text, kSecondsMax);
  }
  return options.at("dm.full") == "queue" ? std::optional(std::chrono::seconds(seconds)) : std::nullopt;
}

bool is_on(const Options& options, const char* name) {
  const auto& value = options.at(name);
  return value == "true" || (value == "auto" && options.at("pool") != "direct-lvm");
}

}  // namespace devicemapper

DriverSpec devicemapper_driver() {
  const std::vector<std::string> truth = {"true", "false"};
  DriverSpec spec;
  spec.name = "devicemapper";
  spec.engines_differ =
      "Both copy the same chunks, which nearly all bytes are where files are large. dm-thin's commits write some 16 KB more than "
      "thin_pool's; a small change that copies nothing shows that most.";
  spec.summary = "dm-thin snapshots with a file system on each; the first write to a chunk copies it";
  spec.options = {
      {"engine", "auto", "dm-thin in the kernel, or sbench's own thin pool; auto: the kernel's where it has one",
       {"auto", "kernel", "userspace"}},
      {"pool", "device", "Docker's shapes: on the device itself, as lvcreate sets it up there, or in loop files on an ext4",
       {"device", "direct-lvm", "loop-lvm"}},
      {"dm.blocksize", "auto", "chunk: what is allocated and copied at once; auto: 64K, with pool=direct-lvm 512K", {}},
      {"dm.loopdatasize", "auto", "pool=loop-lvm: size of the data file; auto: nine tenths of the device", {}},
      {"dm.loopmetadatasize", "auto", "pool=loop-lvm: size of the metadata file; auto: by the data file's", {}},
      {"dm.basesize", "auto", "size of a container's file system; auto: 10G, or four fifths of a smaller device", {}},
      {"dm.fs", "ext4", "file system of the base device", {"ext4", "xfs"}},
      {"dm.mkfsarg", "", "further arguments of mkfs", {}},
      {"dm.mountopt", "", "further mount options", {}},
      {"dm.min_free_space", "10%", "no new layer when less of the pool's data or metadata is free", {}},
      {"dm.full", "error", "writes that find the pool's data space full fail at once, or wait for space", {"error", "queue"}},
      {"dm.full_timeout", "60", "dm.full=queue: seconds after which they fail", {}},
      {"dm.export", "auto", "engine=userspace: what shows thin devices to the kernel; auto: ublk where it has that, else loop",
       {"auto", "ublk", "loop"}},
      {"dm.use_deferred_removal", "true", "a device in use is taken down by its last user", truth},
      {"dm.blkdiscard", "auto", "deleting a layer discards its chunks on the device below; auto: not with pool=direct-lvm",
       {"auto", "true", "false"}},
      {"dm.skip_block_zeroing", "true", "a new chunk is not zeroed before its first write", truth},
  };
  spec.probe = devicemapper::probe;
  spec.format = devicemapper::format;
  spec.open = devicemapper::DevicemapperDriver::open;
  return spec;
}

}  // namespace sbench
