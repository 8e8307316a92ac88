// datasets.h: what the zfs driver asks of a pool of datasets, whoever keeps it.
//
// The real OpenZFS and the distribution's zfs-fuse answer through the zpool and
// zfs programs (tool_pool.h), cow_fs through its server (userspace_engine.cpp). The driver owns meaning (which layer has which
// dataset); an engine only makes, clones, mounts and destroys numbered datasets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/block/device.h"
#include "drivers/driver.h"

namespace sbench::zfs {

using DatasetId = std::uint32_t;
/// Made by format(): the driver keeps its tables in it.
inline constexpr DatasetId kStoreDataset = 0;

struct PoolSpace {
  std::uint64_t bytes_used = 0;
  std::uint64_t bytes_total = 0;
};

/// An open pool. Destroying it closes the pool, everything written, unless it was found
/// standing or is kept; nothing may be mounted from it by then. One thread at a time.
class Datasets {
 public:
  virtual ~Datasets() = default;

  /// A new empty dataset, with the engine's limit (option `size`) and settings. EEXIST.
  [[nodiscard]] virtual Status create(DatasetId id) = 0;
  /// A dataset that shares everything `origin` holds, with a limit of its own. EEXIST, ENOENT.
  [[nodiscard]] virtual Status clone(DatasetId id, DatasetId origin) = 0;
  /// ENOENT; EBUSY while it is mounted.
  [[nodiscard]] virtual Status destroy(DatasetId id) = 0;

  /// Mounts it on an existing directory.
  [[nodiscard]] virtual Status mount(DatasetId id, const std::filesystem::path& target, bool read_only) = 0;
  [[nodiscard]] virtual Status unmount(DatasetId id, const std::filesystem::path& target) = 0;

  /// What destroying the dataset would give back, as of the last sync().
  [[nodiscard]] virtual Result<std::uint64_t> own_bytes(DatasetId id) = 0;
  /// As of the last sync().
  [[nodiscard]] virtual Result<PoolSpace> usage() = 0;
  /// The transaction group is on the device, and what was destroyed has been freed.
  [[nodiscard]] virtual Status sync() = 0;
  /// Rows for Driver::status(), after the pool's figures.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> status() = 0;

  /// Leaves the pool and its mounts standing when this object, and this process, go.
  virtual void keep() = 0;
};

/// One way to keep a pool.
struct Engine {
  const char* name = "";
  EngineClass engine_class = EngineClass::kernel;
  /// Cheap; changes nothing that outlives the call.
  Availability (*probe)(const Options&) = nullptr;
  /// Makes a pool with the store's dataset. ENOSPC saying "at least" when the device is too small.
  Status (*format)(Device&, const Options&) = nullptr;
  /// Opens a formatted pool; where the store's dataset is mounted on `store` already, the pool that an
  /// earlier process left standing is adopted, and left again.
  Result<std::unique_ptr<Datasets>> (*open)(Device&, const Options&, const std::filesystem::path& store) = nullptr;
};

[[nodiscard]] const Engine& kernel_engine();
[[nodiscard]] const Engine& userspace_engine();
[[nodiscard]] const Engine& fuse_engine();

}  // namespace sbench::zfs
