// intent_log.h: operations that fsync made durable before their transaction group is.
//
// Two fixed areas on the device, used by groups in turn. A log block holds the
// operations since the one before, carries its group and sequence, and proves
// itself; replay takes the blocks of the group after the last uberblock, in
// order, until one is missing. Not thread-safe: the pool's lock is held.
#pragma once

#include <string>

#include "drivers/block/block_io.h"
#include "drivers/cow_fs/operation.h"

namespace sbench::cow_fs {

class IntentLog {
 public:
  IntentLog(BlockIo& io, const LabelHeader& header);

  /// The operations of `group` that reached the device, packed.
  [[nodiscard]] Result<std::string> read(std::uint64_t group);

  /// `group` opens; what belonged to the one before is of no use any more.
  void begin(std::uint64_t group);
  /// Remembers an operation; once there are too many, the log is of no use for the group.
  void append(const Operation& operation);
  /// Whether there is anything that write() would write.
  [[nodiscard]] bool is_pending() const { return overflown_ || !pending_.empty(); }
  /// False: the group's operations do not fit, only a commit makes them durable. Else they are written, not flushed.
  [[nodiscard]] Result<bool> write();

  [[nodiscard]] std::uint64_t bytes_written() const { return bytes_written_; }

 private:
  BlockIo& io_;
  LabelHeader header_;
  std::uint64_t group_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t nonce_;  ///< tells this opening's blocks from those of one that was cut short
  std::string pending_;
  bool overflown_ = false;
  std::uint64_t bytes_written_ = 0;
};

}  // namespace sbench::cow_fs
