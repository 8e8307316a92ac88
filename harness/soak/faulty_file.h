// faulty_file.h: a block device that breaks when told to, for `sbench soak`.
//
// A file in memory, shown by a FUSE server of its own below a direct-I/O loop device: what stands on that device is
// real, kernel file systems included, and every read, write and flush of theirs passes through here. The switches
// lie in memory that server and campaign share, so a fault begins and ends at any moment of a run.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/fuse/server_process.h"

namespace sbench::soak {

/// What the device does; an errno of 0 is none.
struct FaultSwitches {
  std::atomic<int> read_errno{0};
  std::atomic<int> write_errno{0};  ///< discards and zeroings, too
  std::atomic<int> flush_errno{0};
  std::atomic<std::uint64_t> from{0};  ///< read and write errors hit requests that touch [from, until)
  std::atomic<std::uint64_t> until{~std::uint64_t{0}};
  /// Bytes that may still be written where nothing was before; then ENOSPC, as a thin or sparse disk that is full.
  std::atomic<std::int64_t> room_bytes{INT64_MAX};
  std::atomic<unsigned> delay_us{0};  ///< each request takes that much longer

  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> hits{0};          ///< requests that failed, or were slow, on purpose
  std::atomic<std::uint64_t> write_hits{0};    ///< those of them that were not reads
  std::atomic<std::uint64_t> last_offset{0};   ///< of a read or write, so that a fault can be put where work is
};

class FaultyDevice {
 public:
  /// `folder` is an empty directory of the caller's; the server is mounted there. The device is as good as new.
  [[nodiscard]] static Result<std::unique_ptr<FaultyDevice>> make(const std::filesystem::path& folder,
                                                                  std::uint64_t size_bytes);
  /// Detaches the loop device and ends the server; what still waits for the device fails.
  ~FaultyDevice();

  /// The loop device.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] pid_t server() const { return server_->pid(); }
  [[nodiscard]] FaultSwitches& switches() { return *switches_; }
  /// Ends every fault; what was written before stays.
  void heal();

 private:
  FaultyDevice() = default;
  std::filesystem::path folder_;
  Fd image_;
  Fd held_, holds_;  ///< an open loop device is on its way from one to the other: open, and in nobody's hands
  std::string path_;
  std::shared_ptr<FaultSwitches> switches_;
  std::unique_ptr<fuse::ServerProcess> server_;
};

}  // namespace sbench::soak
