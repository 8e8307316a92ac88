// kernel_pool.h: dm-thin's pool and thin devices as ThinDevices.
//
// Every change is a message to the pool, followed by a new transaction id, as
// Docker did: the id counts the driver's changes. An origin that is active is
// suspended while its snapshot is taken, which flushes its file system. A pool
// out of space fails writes at once (error_if_no_space), or with dm.full=queue holds
// them for dm.full_timeout: dm-thin has one such time for all pools of the kernel, which
// is set where it differs, and set back when this object takes its pool down.
//
// Taking down is deferred where something still uses a device: nothing stays
// once its last user has gone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/devicemapper/pool_place.h"
#include "drivers/devicemapper/thin_devices.h"

namespace sbench::devicemapper {

class KernelPool final : public ThinDevices {
 public:
  /// Opens the pool on `device`, or adopts the one that stands there.
  [[nodiscard]] static Result<std::unique_ptr<ThinDevices>> open(Device& device, const Options& options,
                                                                 const std::filesystem::path& directory);
  /// Makes an empty pool: clears what is there and lets the kernel write its first superblock.
  [[nodiscard]] static Status format(Device& device, const Options& options);
  ~KernelPool() override;

  Status create(ThinId id, std::uint64_t size_bytes) override;
  Status snapshot(ThinId id, ThinId origin) override;
  Status remove(ThinId id) override;
  Result<std::filesystem::path> activate(ThinId id, std::uint64_t size_bytes) override;
  Status deactivate(ThinId id) override;
  Result<std::uint64_t> own_bytes(ThinId id) override;
  Result<PoolUsage> usage() override;
  Status sync() override;
  std::vector<std::pair<std::string, std::string>> status() override;
  void keep() override;

 private:
  KernelPool(std::string prefix, const Options& options, std::uint64_t chunk_bytes,
             std::optional<std::chrono::seconds> queue_time);
  [[nodiscard]] static Result<std::unique_ptr<KernelPool>> prepare(const Device& device, const Options& options);
  [[nodiscard]] Status set_queue_time();
  [[nodiscard]] Status start(const PoolPlace& place);
  /// A message that changes the pool, and the transaction id after it.
  [[nodiscard]] Status change(const std::string& message);
  [[nodiscard]] Status discard(ThinId id);
  [[nodiscard]] std::string pool_name() const { return prefix_ + "pool"; }
  [[nodiscard]] std::string thin_name(ThinId id) const { return prefix_ + "thin-" + std::to_string(id); }

  std::string prefix_;
  std::uint64_t chunk_bytes_;
  bool zeroing_;
  bool discards_;
  bool deferred_;
  std::optional<std::chrono::seconds> queue_time_;  ///< nothing: a full pool fails writes
  std::string earlier_queue_time_;                  ///< the kernel's, where it was changed
  std::uint64_t largest_bytes_ = 0;  ///< no thin device seen so far is larger
  std::unique_ptr<PoolPlace> place_;  ///< nothing when the pool was adopted
};

}  // namespace sbench::devicemapper
