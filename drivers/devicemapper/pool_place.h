// pool_place.h: where a kernel pool keeps its data and its metadata.
//
// Docker's three shapes, the `pool` option:
//   device      metadata, then data, as two dm-linear pieces of the device
//   direct-lvm  the same pieces with lvcreate's chunk of 512 KiB and no discard on delete
//   loop-lvm    two sparse files on an ext4 on the device, each under a loop device
// The metadata's size is the larger of the kernel document's (48 bytes a chunk) and
// LVM's 1 % of the device, at least 4 MiB, at most 16 GiB: computed from the
// device's size and the options alone, so a store opens without a label of its own.
//
// Names: sbench-MAJOR.MINOR-pool, -metadata, -data and -thin-ID, after the device
// below. UUIDs carry the process that made them: SBENCH-PID.START-NAME.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "drivers/backing/backing.h"
#include "drivers/block/device.h"
#include "drivers/driver.h"

namespace sbench::devicemapper {

/// The two devices below a pool. Destroying it takes them down, unless they are kept.
class PoolPlace {
 public:
  /// Makes both parts empty. ENOSPC saying "at least" when the device is too small.
  [[nodiscard]] static Status format(Device& device, const Options& options);
  /// Brings them up; `directory` takes the mount of a loop-lvm pool's files. EINVAL where no pool
  /// was made, unless `fresh`: then the kernel is about to make it.
  [[nodiscard]] static Result<std::unique_ptr<PoolPlace>> open(Device& device, const Options& options,
                                                               const std::filesystem::path& directory, bool fresh);
  ~PoolPlace();
  PoolPlace(const PoolPlace&) = delete;
  PoolPlace& operator=(const PoolPlace&) = delete;

  [[nodiscard]] const std::filesystem::path& metadata() const { return metadata_; }
  [[nodiscard]] const std::filesystem::path& data() const { return data_; }
  [[nodiscard]] std::uint64_t data_bytes() const { return data_bytes_; }
  /// Leaves them standing when this object goes.
  void keep();

 private:
  PoolPlace() = default;
  [[nodiscard]] Status open_pieces(Device& device, const Options& options);
  [[nodiscard]] Status open_files(Device& device, const Options& options, const std::filesystem::path& directory);

  std::filesystem::path metadata_;
  std::filesystem::path data_;
  std::uint64_t data_bytes_ = 0;
  std::vector<std::string> pieces_;
  std::optional<Backing> backing_;  ///< outlives the loop devices over its files
  std::unique_ptr<Device> metadata_file_;
  std::unique_ptr<Device> data_file_;
  bool kept_ = false;
};

/// "sbench-7.0-": what all names over this device begin with.
[[nodiscard]] Result<std::string> name_prefix(const Device& device);
/// "SBENCH-PID.START-NAME" for this process.
[[nodiscard]] std::string make_uuid(const std::string& name);
/// Whether the process a UUID of make_uuid() names still runs.
[[nodiscard]] bool maker_runs(const std::string& uuid);

}  // namespace sbench::devicemapper
