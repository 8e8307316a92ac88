// userspace_engine.cpp: sbench's own cow_fs behind a FUSE server, as an engine of the zfs driver.
//
// One process owns the pool on the device and shows it as a directory of datasets
// (cow_fs/pool_files.h), beside the store; a mounted dataset is a bind mount of
// its directory. What the pool caches is forgotten when it is closed.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <fcntl.h>

#include <array>
#include <charconv>

#include "drivers/backing/mount_point.h"
#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/cow_fs/pool_files.h"
#include "drivers/fuse/layer_servers.h"
#include "drivers/fuse/pool_place.h"
#include "drivers/zfs/datasets.h"

namespace sbench::zfs {

namespace {

namespace fs = std::filesystem;

constexpr int kReleasePatience_ms = 5000;
constexpr int kReleaseStep_ms = 5;
constexpr std::uint64_t kPoolBytesMin = 128 * kMiB;
/// What a dead driver's server has in memory is committed at its end, or by then at the pool's interval.
constexpr int kLinger_ms = 12'000;

fs::path record_of(const fs::path& directory) { return directory.string() + ".server"; }

/// What the driver's options say to the pool. EINVAL for what only OpenZFS has.
Result<cow_fs::DatasetOptions> dataset_options(const Options& options) {
  const auto& compression = options.at("compression");
  if (compression != "off" && compression != "lz4") {
    return plain_error(EINVAL, "zfs:engine=userspace compresses with lz4, not {}", compression);
  }
  if (options.at("atime") != "off" || options.at("ashift") != "12") {
    return plain_error(EINVAL, "zfs:engine=userspace has atime=off and ashift=12 only");
  }
  cow_fs::DatasetOptions wanted;
  try {
    wanted.record_bytes = static_cast<std::uint32_t>(parse_size(options.at("recordsize"), "recordsize"));
    wanted.quota_bytes = options.at("size").empty() ? 0 : parse_size(options.at("size"), "size");
  } catch (const std::exception& error) {
    return plain_error(EINVAL, "{}", error.what());
  }
  wanted.compression = compression == "lz4" ? cow_fs::Compression::lz4 : cow_fs::Compression::off;
  return wanted;
}

cow_fs::SyncMode sync_mode(const Options& options) {
  const auto& sync = options.at("sync");
  return sync == "always" ? cow_fs::SyncMode::always : sync == "disabled" ? cow_fs::SyncMode::disabled : cow_fs::SyncMode::standard;
}

/// In the server's process.
Result<std::unique_ptr<FileSystem>> open_pool(const IoSource& device, const cow_fs::OpenOptions& options,
                                              const cow_fs::DatasetOptions& datasets, const fs::path& directory) {
  SBENCH_TRY_SET(auto place, fuse::PoolPlace::take(directory, device.path));
  SBENCH_TRY_SET(auto io, device.open());
  SBENCH_TRY_SET(auto pool, cow_fs::Pool::open(*io, options));
  std::move(place).keep();
  return std::unique_ptr<FileSystem>(new cow_fs::PoolFiles(std::move(io), std::move(pool), datasets));
}

class UserspaceDatasets final : public Datasets {
 public:
  UserspaceDatasets(fs::path directory, std::string device, std::unique_ptr<fuse::ServerProcess> server, bool stays)
      : directory_(std::move(directory)), device_(std::move(device)), server_(std::move(server)), stays_(stays) {}

  ~UserspaceDatasets() override {
    if (!stays_) {
      static_cast<void>(while_busy(kReleasePatience_ms, kReleaseStep_ms, [this] { return server_->stop(); }));
    }
  }

  Status create(DatasetId id) override {
    return ::mkdir(directory_of(id).c_str(), 0755) == 0 ? Status() : explain("cannot make dataset {}", id);
  }

  Status clone(DatasetId id, DatasetId origin) override {
    const std::string what = fmt::format("{} {}", origin, id);
    if (::setxattr(directory_.c_str(), "user.clone", what.data(), what.size(), 0) != 0 ||
        ::mkdir(directory_of(id).c_str(), 0755) != 0) {
      return explain("cannot make dataset {}, a clone of {}", id, origin);
    }
    return {};
  }

  Status destroy(DatasetId id) override {
    return while_busy(kReleasePatience_ms, kReleaseStep_ms, [&]() -> Status {
      return ::rmdir(directory_of(id).c_str()) == 0 ? Status() : explain("cannot destroy dataset {}", id);
    });
  }

  Status mount(DatasetId id, const fs::path& target, bool read_only) override {
    if (::mount(directory_of(id).c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return explain("cannot mount dataset {}", id);
    }
    if (read_only && ::mount(nullptr, target.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) {
      Error failed = explain("cannot make dataset {} read-only", id);
      static_cast<void>(sbench::unmount(target, kReleasePatience_ms));
      return failed;
    }
    return {};
  }

  Status unmount(DatasetId, const fs::path& target) override { return sbench::unmount(target, kReleasePatience_ms); }

  Result<std::uint64_t> own_bytes(DatasetId id) override {
    SBENCH_TRY_SET(const std::string text, read_attribute(directory_of(id), "user.own_bytes"));
    std::uint64_t bytes = 0;
    std::from_chars(text.data(), text.data() + text.size(), bytes);
    return bytes;
  }

  Result<PoolSpace> usage() override {
    SBENCH_TRY_SET(const std::string text, read_attribute(directory_, "user.pool"));
    PoolSpace space;
    for (const auto& [key, value] : {std::pair{std::string_view("used="), &space.bytes_used}, {"total=", &space.bytes_total}}) {
      const auto at = text.find(key);
      if (at == std::string::npos) {
        return plain_error(EPROTO, "the pool's figures lack {}: {}", key, text);
      }
      std::from_chars(text.data() + at + key.size(), text.data() + text.size(), *value);
    }
    return space;
  }

  Status sync() override {
    SBENCH_TRY_SET(const Fd fd, open_file(directory_, O_RDONLY | O_DIRECTORY));
    return ::fsync(fd.get()) == 0 ? Status() : explain("cannot commit the pool on {}", device_);
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    return {{"Data Device", device_},
            {"Export", "one FUSE mount, bind mounts of its datasets"},
            {"Pool Server", std::to_string(server_->pid())}};
  }

  void keep() override {
    if (!stays_) {
      stays_ = server_->leave(record_of(directory_)).ok();
    }
  }

 private:
  [[nodiscard]] fs::path directory_of(DatasetId id) const { return directory_ / std::to_string(id); }

  Result<std::string> read_attribute(const fs::path& path, const char* name) const {
    std::array<char, 256> text{};
    const ssize_t length = ::getxattr(path.c_str(), name, text.data(), text.size());
    if (length < 0) {
      return explain("cannot read {} of {}", name, path.string());
    }
    return std::string(text.data(), static_cast<std::size_t>(length));
  }

  /// errno, in the pool's terms.
  template <typename... Args>
  [[nodiscard]] Error explain(fmt::format_string<Args...> format, Args&&... args) const {
    const int code = errno;
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    switch (code) {
      case ENOTCONN:
      case ECONNABORTED: return plain_error(EIO, "{}: the process that serves the pool on {} has died", what, device_);
      case EUCLEAN: return plain_error(code, "{}: the pool is damaged; see sbench check {}", what, device_);
      default: return make_error(code, "{}", what);
    }
  }

  fs::path directory_;
  std::string device_;
  std::unique_ptr<fuse::ServerProcess> server_;
  bool stays_;  ///< the pool was found standing, or is kept
};

Status format(Device& device, const Options& options) {
  SBENCH_TRY_SET(const cow_fs::DatasetOptions wanted, dataset_options(options));
  if (device.size_bytes() < kPoolBytesMin) {
    return plain_error(ENOSPC, "{} has {}; a zfs pool takes at least {}", device.path(),
                       human_size(static_cast<double>(device.size_bytes())), format_size(kPoolBytesMin));
  }
  device.release_exclusive();
  SBENCH_TRY_SET(const auto io, device.io().open());
  SBENCH_TRY(cow_fs::Pool::format(*io));
  cow_fs::OpenOptions quiet;
  quiet.commit_interval_ms = 0;
  SBENCH_TRY_SET(const auto pool, cow_fs::Pool::open(*io, quiet));
  cow_fs::DatasetOptions unlimited = wanted;
  unlimited.quota_bytes = 0;
  return pool->create(std::to_string(kStoreDataset), unlimited);
}

Result<std::unique_ptr<Datasets>> open(Device& device, const Options& options, const fs::path& store) {
  SBENCH_TRY_SET(const cow_fs::DatasetOptions datasets, dataset_options(options));
  const fs::path directory = store.parent_path() / "pool";
  SBENCH_TRY(make_directories(directory));
  device.release_exclusive();
  const bool stands = is_mount_point(store) && is_mount_point(directory);
  if (stands) {
    SBENCH_TRY_SET(auto server, fuse::ServerProcess::adopt(directory, record_of(directory)));
    return std::unique_ptr<Datasets>(new UserspaceDatasets(directory, device.io().path, std::move(server), true));
  }
  cow_fs::OpenOptions pool_options;
  pool_options.sync = sync_mode(options);
  fuse::ServerOptions server_options;
  server_options.session.name = "cow-fs";
  server_options.session.passthrough = false;
  server_options.session.opens = false;
  server_options.gives_up_mounts = true;  // it must not hold the bind mounts of its own files
  server_options.linger_ms = kLinger_ms;
  server_options.capabilities = fuse::kPoolServerCapabilities;
  SBENCH_TRY_SET(auto server, fuse::ServerProcess::start(directory, server_options, [io = device.io(), pool_options, datasets,
                                                                                   directory] {
    return open_pool(io, pool_options, datasets, directory);
  }));
  return std::unique_ptr<Datasets>(new UserspaceDatasets(directory, device.io().path, std::move(server), false));
}

Availability probe(const Options&) { return fuse::probe_fuse(); }

}  // namespace

const Engine& userspace_engine() {
  static const Engine engine = {"userspace", EngineClass::userspace, probe, format, open};
  return engine;
}

}  // namespace sbench::zfs
