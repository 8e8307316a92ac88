// tool_pool.h: a ZFS pool through the programs zpool and zfs, as Docker's driver works it.
//
// The pool lives on a partition (partition.h). In the kernel it is called
// sbench-MAJOR.MINOR-PID.START: after the device, and after the process that opened
// it, so that `sbench clean` can tell a dead one's pool; on the device it is called
// sbench. Datasets: POOL/store, and POOL/layers/NUMBER, all with legacy mount points.
// A child is a clone of a snapshot that is destroyed at once, deferred: it goes when
// its clone has gone. What the pool holds is read from the device again after every
// opening (import): closing it (export) is what makes caches cold.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/zfs/datasets.h"

namespace sbench::zfs {

inline constexpr const char* kPoolPrefix = "sbench-";

/// Runs zpool or zfs. The error's code says what the program's words mean: ENOENT, EEXIST, EBUSY, ENOSPC, else EIO.
[[nodiscard]] Result<std::string> run_tool(const std::vector<std::string>& argv);
/// For how long the program that run_tool() started runs already, ms; 0: none does. From any thread.
[[nodiscard]] std::int64_t tool_runs_since_ms();

class ToolPool : public Datasets {
 public:
  [[nodiscard]] static Status format(Device& device, const Options& options);
  [[nodiscard]] static Result<std::unique_ptr<Datasets>> open(Device& device, const Options& options,
                                                              const std::filesystem::path& store);
  ~ToolPool() override;

  Status create(DatasetId id) override;
  Status clone(DatasetId id, DatasetId origin) override;
  Status destroy(DatasetId id) override;
  Status mount(DatasetId id, const std::filesystem::path& target, bool read_only) override;
  Status unmount(DatasetId id, const std::filesystem::path& target) override;
  Result<std::uint64_t> own_bytes(DatasetId id) override;
  Result<PoolSpace> usage() override;
  Status sync() override;
  std::vector<std::pair<std::string, std::string>> status() override;
  void keep() override { stays_ = true; }

  // Pieces of format(), for engines whose programs differ in the rest.
  /// ENOSPC when the device is too small for a pool.
  [[nodiscard]] static Status check_size(const Device& device);
  /// "-O recordsize=…" and the like.
  static void add_properties(std::vector<std::string>& argv, const Options& options);
  /// The store's dataset and that of all layers, in the pool `name`, which is exported in any case.
  [[nodiscard]] static Status make_first_datasets(const std::string& name);

 protected:
  /// `server`: what must live until the pool is exported.
  ToolPool(std::string name, const Device& device, const Options& options, bool stays, std::shared_ptr<void> server = {});
  [[nodiscard]] std::string dataset(DatasetId id) const;

 private:
  /// "zfs VERB -o quota=…" when there is a limit.
  [[nodiscard]] std::vector<std::string> making(const char* verb) const;

  std::shared_ptr<void> server_;
  std::string name_;
  const Device& device_;
  std::string limit_;  ///< option `size`; empty: none
  bool stays_;
  bool freeing_ = true;  ///< something was destroyed since the last sync(), or before opening
};

/// Pools of ours whose process is gone and of which nothing is mounted are exported; their names.
[[nodiscard]] Result<std::vector<std::string>> export_abandoned_pools();

}  // namespace sbench::zfs
