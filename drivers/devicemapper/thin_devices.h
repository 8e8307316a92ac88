// thin_devices.h: what the devicemapper driver asks of a thin pool, whoever keeps it.
//
// Two engines answer: dm-thin through libdevmapper (kernel_engine.cpp) and the
// thin_pool library behind a FUSE server and loop devices (userspace_engine.cpp).
// The driver owns meaning (which device is the base, which layer has which id);
// an engine only makes, shares, shows and deletes numbered thin devices.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench::devicemapper {

/// A thin device's number in its pool, below 2^24.
using ThinId = std::uint32_t;

struct PoolUsage {
  std::uint64_t data_bytes_used = 0;
  std::uint64_t data_bytes_total = 0;
  std::uint64_t metadata_bytes_used = 0;
  std::uint64_t metadata_bytes_total = 0;
  std::uint64_t transaction = 0;
  std::uint64_t waiting_writes = 0;  ///< for space; not counted by the kernel's engine
};

/// An open pool. Destroying it deactivates its devices and takes the pool down,
/// its last transaction committed, unless it was adopted or is kept. One thread at a time.
class ThinDevices {
 public:
  virtual ~ThinDevices() = default;

  /// A new empty device. EEXIST when the id is taken.
  [[nodiscard]] virtual Status create(ThinId id, std::uint64_t size_bytes) = 0;
  /// A device that shares all of `origin`'s chunks, at the moment of the call: an active
  /// origin is suspended meanwhile. EEXIST, ENOENT.
  [[nodiscard]] virtual Status snapshot(ThinId id, ThinId origin) = 0;
  /// Deletes a device; deactivates it first. ENOENT.
  [[nodiscard]] virtual Status remove(ThinId id) = 0;

  /// Shows a device of `size_bytes` as a block device; returns its path, the same while it is active. ENOENT.
  [[nodiscard]] virtual Result<std::filesystem::path> activate(ThinId id, std::uint64_t size_bytes) = 0;
  /// Undoes activate. With dm.use_deferred_removal a device still in use goes with its last user; else EBUSY.
  [[nodiscard]] virtual Status deactivate(ThinId id) = 0;

  /// Bytes of chunks the device has of its own: allocated since it was made.
  [[nodiscard]] virtual Result<std::uint64_t> own_bytes(ThinId id) = 0;
  [[nodiscard]] virtual Result<PoolUsage> usage() = 0;
  /// Commits: everything acknowledged is on the device.
  [[nodiscard]] virtual Status sync() = 0;
  /// Rows for Driver::status(), after the pool's figures.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> status() = 0;

  /// Leaves the pool and its active devices standing when this object, and this process, go.
  virtual void keep() = 0;
};

/// One way to keep a pool.
struct Engine {
  const char* name = "";
  EngineClass engine_class = EngineClass::kernel;
  /// Cheap; changes nothing that outlives the call.
  Availability (*probe)(const Options&) = nullptr;
  /// Makes an empty pool on the device. ENOSPC saying "at least" when it is too small.
  Status (*format)(Device&, const Options&) = nullptr;
  /// Opens a formatted pool. `directory` is an existing directory for mounts of the engine's own;
  /// a pool that an earlier process left standing there is adopted, and left again.
  Result<std::unique_ptr<ThinDevices>> (*open)(Device&, const Options&, const std::filesystem::path& directory) = nullptr;
};

[[nodiscard]] const Engine& kernel_engine();
[[nodiscard]] const Engine& userspace_engine();

/// dm.blocksize: a multiple of 64 KiB, 64 KiB to 1 GiB, EINVAL otherwise; "auto" is 512 KiB
/// with pool=direct-lvm and 64 KiB else.
[[nodiscard]] Result<std::uint64_t> parse_chunk_bytes(const Options& options);
/// dm.full=queue, and for how long (dm.full_timeout, EINVAL unless 1 to 86400 s); nothing with dm.full=error.
[[nodiscard]] Result<std::optional<std::chrono::seconds>> parse_full(const Options& options);
/// "true" or "false" options; "auto" is false with pool=direct-lvm and true else.
[[nodiscard]] bool is_on(const Options& options, const char* name);

}  // namespace sbench::devicemapper
