// counted_io.h: how an engine opens the device it does its own I/O on, and what that I/O came to.
//
// The kernel counts what reaches a block device. A file on a disk that others use as well has no
// such counters: there, every transfer is counted where it is made, in memory that the process
// that makes it and the one that measures share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "drivers/block/block_io.h"

namespace sbench {

/// Requests completed by the device since boot; subtract two readings.
/// Source: /sys/class/block/NAME/stat (Documentation/block/stat.rst).
struct DeviceCounters {
  std::uint64_t reads = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t writes = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t discards = 0;
  std::uint64_t bytes_discarded = 0;
  std::uint64_t flushes = 0;
  std::uint64_t busy_ms = 0;
  std::uint64_t in_flight = 0;  ///< a level, not a count

  friend DeviceCounters operator-(const DeviceCounters& after, const DeviceCounters& before);
};

/// Survives fork(); copies stand for the same device.
struct IoSource {
  struct Counters;
  std::string path;                    ///< block device or file
  std::shared_ptr<Counters> counters;  ///< null for a device that the kernel counts

  /// Past the page cache (direct_device.h), counted where `counters` are.
  [[nodiscard]] Result<std::unique_ptr<BlockIo>> open() const;
  /// Bytes and calls since the counters were made: flushes are those that reached the file, not the disk below it.
  [[nodiscard]] DeviceCounters read() const;
  /// Counters in memory that processes forked from this one share.
  [[nodiscard]] static std::shared_ptr<Counters> make_counters();
};

}  // namespace sbench
