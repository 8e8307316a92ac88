// dm_log.h: the kernel's own write log: the device-mapper target log-writes, and its log read as a WriteLog.
//
// Format (Documentation/admin-guide/device-mapper/log-writes.rst), little endian, in sectors of
// the super block's size: the super block {u64 magic, version, entries; u32 sector_bytes}, then for
// each entry one sector {u64 sector, sectors, flags, data_bytes}, followed by its data. The text of a
// mark stands in the entry's sector. A write is logged when a flush that covers it is done, one with
// FUA when it is done itself, a mark at once.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "drivers/block/device.h"
#include "tests/crash/marks.h"
#include "tests/crash/write_log.h"

namespace sbench::crash {

/// EUCLEAN when the file or device holds no whole log.
[[nodiscard]] Result<WriteLog> read_dm_log(const std::filesystem::path& file);

/// A device over `data` whose writes the kernel logs on `log`.
class KernelLoggedDevice final : public Marks {
 public:
  [[nodiscard]] static Result<std::unique_ptr<KernelLoggedDevice>> make(const std::filesystem::path& data,
                                                                        const std::filesystem::path& log);
  ~KernelLoggedDevice() override;

  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] Status mark(const std::string& text) override;
  /// Takes the device down, which nobody uses any more; afterwards the log is complete.
  [[nodiscard]] Status finish();

 private:
  KernelLoggedDevice() = default;
  std::unique_ptr<Device> device_;
  bool stands_ = false;
  std::mutex mutex_;  ///< libdevmapper takes one thread at a time
};

}  // namespace sbench::crash
