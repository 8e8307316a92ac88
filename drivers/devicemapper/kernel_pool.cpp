#include "drivers/devicemapper/kernel_pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/devicemapper/dm_device.h"
#include "drivers/devicemapper/thin_metadata.h"

namespace sbench::devicemapper {

namespace {

constexpr std::uint64_t kMetadataBlockBytes = 4096;
/// Seconds, of all thin pools of the kernel.
constexpr const char* kQueueTime = "/sys/module/dm_thin_pool/parameters/no_space_timeout";

/// The thin-pool target's status line (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
struct PoolStatus {
  unsigned long long transaction = 0;
  unsigned long long metadata_used = 0;
  unsigned long long metadata_total = 0;
  unsigned long long data_used = 0;
  unsigned long long data_total = 0;
  std::string held_root;
  std::string mode;  ///< rw, ro, out_of_data_space
};

Result<PoolStatus> read_status(const std::string& pool) {
  SBENCH_TRY_SET(const std::string text, dm_status(pool));
  PoolStatus status;
  char held[32] = "";
  char mode[32] = "";
  if (std::sscanf(text.c_str(), "%llu %llu/%llu %llu/%llu %31s %31s", &status.transaction, &status.metadata_used,
                  &status.metadata_total, &status.data_used, &status.data_total, held, mode) < 6) {
    return plain_error(EIO, "the thin pool {} has failed: its status is '{}'", pool, text);
  }
  status.held_root = held;
  status.mode = mode;
  return status;
}

/// "7:1" → "/dev/loop1", by the name the kernel gives the device.
std::filesystem::path node_of(const std::string& number) {
  std::istringstream lines(read_trimmed("/sys/dev/block/" + number + "/uevent"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("DEVNAME=")) {
      const std::filesystem::path node = "/dev/" + line.substr(8);
      return std::filesystem::exists(node) ? node : std::filesystem::path("/dev/block/" + number);
    }
  }
  return "/dev/block/" + number;
}

/// dm devices have a name beside /dev/dm-N, which exists without udev as well.
Result<std::filesystem::path> metadata_node(const std::string& prefix) {
  SBENCH_TRY_SET(const auto piece, dm_find(prefix + "metadata"));
  if (piece) {
    return dm_path(prefix + "metadata");
  }
  SBENCH_TRY_SET(const std::string table, dm_table(prefix + "pool"));
  return node_of(table.substr(0, table.find(' ')));
}

}  // namespace

KernelPool::KernelPool(std::string prefix, const Options& options, std::uint64_t chunk_bytes,
                       std::optional<std::chrono::seconds> queue_time)
    : prefix_(std::move(prefix)),
      chunk_bytes_(chunk_bytes),
      zeroing_(!is_on(options, "dm.skip_block_zeroing")),
      discards_(is_on(options, "dm.blkdiscard")),
      deferred_(is_on(options, "dm.use_deferred_removal")),
      queue_time_(queue_time) {}

Result<std::unique_ptr<KernelPool>> KernelPool::prepare(const Device& device, const Options& options) {
  SBENCH_TRY_SET(const std::string prefix, name_prefix(device));
  SBENCH_TRY_SET(const std::uint64_t chunk_bytes, parse_chunk_bytes(options));
  SBENCH_TRY_SET(const auto queue_time, parse_full(options));
  return std::unique_ptr<KernelPool>(new KernelPool(prefix, options, chunk_bytes, queue_time));
}

Result<std::unique_ptr<ThinDevices>> KernelPool::open(Device& device, const Options& options,
                                                      const std::filesystem::path& directory) {
  SBENCH_TRY_SET(auto pool, prepare(device, options));
  SBENCH_TRY_SET(const auto standing, dm_find(pool->pool_name()));
  if (standing) {
    SBENCH_TRY(dm_cancel_removal(pool->pool_name()));
  } else {
    SBENCH_TRY_SET(auto place, PoolPlace::open(device, options, directory, false));
    SBENCH_TRY(pool->start(*place));
    pool->place_ = std::move(place);
  }
  return std::unique_ptr<ThinDevices>(std::move(pool));
}

Status KernelPool::format(Device& device, const Options& options) {
  SBENCH_TRY(PoolPlace::format(device, options));
  if (options.at("pool") == "loop-lvm") {
    return {};  // its files are made at the first opening
  }
  SBENCH_TRY_SET(const auto pool, prepare(device, options));
  SBENCH_TRY_SET(pool->place_, PoolPlace::open(device, options, {}, true));
  SBENCH_TRY(pool->start(*pool->place_));
  return pool->sync();
}

Status KernelPool::start(const PoolPlace& place) {
  const std::uint64_t low_water_chunks = place.data_bytes() / chunk_bytes_ / 10;
  std::vector<std::string> features;
  if (!zeroing_) {
    features.emplace_back("skip_block_zeroing");
  }
  if (queue_time_) {
    SBENCH_TRY(set_queue_time());
  } else {
    features.emplace_back("error_if_no_space");
  }
  const std::string arguments =
      fmt::format("{} {} {} {} {} {}", place.metadata().string(), place.data().string(), chunk_bytes_ / kSectorBytes,
                  low_water_chunks, features.size(), fmt::join(features, " "));
  return dm_create(pool_name(), make_uuid(pool_name()), {place.data_bytes(), "thin-pool", arguments});
}

/// dm-thin reads its queue time at the moment a pool runs full.
Status KernelPool::set_queue_time() {
  const std::string wanted = std::to_string(queue_time_->count());
  const std::string now = read_trimmed(kQueueTime);
  if (now == wanted) {
    return {};
  }
  SBENCH_TRY_SET(const Fd file, open_file(kQueueTime, O_WRONLY));
  SBENCH_TRY(write_all(file.get(), wanted, kQueueTime));
  earlier_queue_time_ = now;
  return {};
}

KernelPool::~KernelPool() {
  if (place_ == nullptr) {
    return;  // adopted, and left as it was found
  }
  if (const auto names = dm_list(); names.ok()) {
    for (const auto& name : *names) {
      if (name.starts_with(prefix_ + "thin-")) {
        static_cast<void>(dm_remove(name, true));
      }
    }
  }
  static_cast<void>(dm_remove(pool_name(), true));
  if (!earlier_queue_time_.empty()) {
    if (const auto file = open_file(kQueueTime, O_WRONLY); file.ok()) {
      static_cast<void>(write_all(file->get(), earlier_queue_time_, kQueueTime));
    }
  }
}

void KernelPool::keep() {
  if (place_ != nullptr) {
    place_->keep();
    place_.reset();
  }
}

Status KernelPool::change(const std::string& message) {
  SBENCH_TRY(dm_message(pool_name(), message));
  SBENCH_TRY_SET(const PoolStatus now, read_status(pool_name()));
  return dm_message(pool_name(), fmt::format("set_transaction_id {} {}", now.transaction, now.transaction + 1));
}

Status KernelPool::create(ThinId id, std::uint64_t size_bytes) {
  largest_bytes_ = std::max(largest_bytes_, size_bytes);
  return change(fmt::format("create_thin {}", id));
}

Status KernelPool::snapshot(ThinId id, ThinId origin) {
  const std::string message = fmt::format("create_snap {} {}", id, origin);
  SBENCH_TRY_SET(const auto active, dm_find(thin_name(origin)));
  if (!active) {
    return change(message);
  }
  SBENCH_TRY(dm_suspend(thin_name(origin)));
  const Status made = change(message);
  const Status resumed = dm_resume(thin_name(origin));
  return made.ok() ? resumed : made;
}

Status KernelPool::remove(ThinId id) {
  SBENCH_TRY_SET(const auto active, dm_find(thin_name(id)));
  if (active) {
    SBENCH_TRY(dm_remove(thin_name(id), false));
  }
  if (discards_) {
    SBENCH_TRY(discard(id));
  }
  return change(fmt::format("delete {}", id));
}

/// The pool passes on what only this device maps, and just unmaps what it shares.
Status KernelPool::discard(ThinId id) {
  SBENCH_TRY_SET(const auto path, activate(id, std::max(largest_bytes_, chunk_bytes_)));
  Status discarded;
  {
    SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDWR));
    std::uint64_t range[2] = {0, 0};
    if (::ioctl(fd.get(), BLKGETSIZE64, &range[1]) != 0 ||
        (::ioctl(fd.get(), BLKDISCARD, range) != 0 && errno != EOPNOTSUPP)) {
      discarded = errno_error("cannot discard {}", path.string());
    }
  }
  SBENCH_TRY(dm_remove(thin_name(id), false));
  return discarded;
}

Result<std::filesystem::path> KernelPool::activate(ThinId id, std::uint64_t size_bytes) {
  const std::string name = thin_name(id);
  largest_bytes_ = std::max(largest_bytes_, size_bytes);
  SBENCH_TRY_SET(const auto active, dm_find(name));
  if (active) {
    if (active->goes_when_unused) {
      SBENCH_TRY(dm_cancel_removal(name));
    }
    return dm_path(name);
  }
  SBENCH_TRY(dm_create(name, make_uuid(name),
                       {size_bytes, "thin", fmt::format("{} {}", dm_path(pool_name()).string(), id)}));
  return dm_path(name);
}

Status KernelPool::deactivate(ThinId id) {
  SBENCH_TRY_SET(const auto active, dm_find(thin_name(id)));
  return active ? dm_remove(thin_name(id), deferred_) : Status();
}

Result<std::uint64_t> KernelPool::own_bytes(ThinId id) {
  SBENCH_TRY_SET(const auto metadata, metadata_node(prefix_));
  SBENCH_TRY(dm_message(pool_name(), "reserve_metadata_snap"));
  const auto status = read_status(pool_name());
  Result<std::uint64_t> chunks = status.ok()
                                     ? count_own_chunks(metadata, std::strtoull(status->held_root.c_str(), nullptr, 10), id)
                                     : Result<std::uint64_t>(status.error());
  SBENCH_TRY(dm_message(pool_name(), "release_metadata_snap"));
  SBENCH_TRY(chunks);
  return *chunks * chunk_bytes_;
}

Result<PoolUsage> KernelPool::usage() {
  SBENCH_TRY_SET(const PoolStatus now, read_status(pool_name()));
  return PoolUsage{now.data_used * chunk_bytes_, now.data_total * chunk_bytes_,
                   now.metadata_used * kMetadataBlockBytes, now.metadata_total * kMetadataBlockBytes, now.transaction, 0};
}

Status KernelPool::sync() {
  SBENCH_TRY_SET([[maybe_unused]] const PoolStatus committed, read_status(pool_name()));
  return {};
}

std::vector<std::pair<std::string, std::string>> KernelPool::status() {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"Pool Name", pool_name()},
      {"Zeroing of new chunks", zeroing_ ? "true" : "false"},
      {"Discard on delete", discards_ ? "true" : "false"},
      {"When Full", queue_time_ ? fmt::format("queue for {} s", queue_time_->count()) : "error"},
      {"Deferred Removal Enabled", deferred_ ? "true" : "false"},
      {"Thin Pool Target", dm_target_version("thin-pool").value_or("unknown")},
  };
  if (const auto now = read_status(pool_name()); now.ok()) {
    rows.emplace_back("Transaction", std::to_string(now->transaction));
    rows.emplace_back("Pool Mode", now->mode);
  }
  return rows;
}

}  // namespace sbench::devicemapper
