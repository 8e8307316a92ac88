// block_io.h: the one seam through which user-space engines reach their device.
//
// Implementations: a file or block device with O_DIRECT, memory, and a
// fault-injecting wrapper for tests. Engines see only this page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "drivers/base/result.h"

namespace sbench {

/// A block device by offset. Offsets and sizes are multiples of block_bytes();
/// anything else, or a range beyond size_bytes(), is EINVAL. Calls may come
/// from several threads at once; overlapping concurrent writes are the caller's bug.
class BlockIo {
 public:
  virtual ~BlockIo() = default;

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  /// Smallest unit of a transfer, a power of two, 512 to 4096; writes of one are atomic.
  [[nodiscard]] virtual std::uint32_t block_bytes() const = 0;

  /// Fills `buffer` from `offset`. Memory alignment is the implementation's concern.
  [[nodiscard]] virtual Status read(std::uint64_t offset, std::span<std::byte> buffer) = 0;
  /// On return the data may still be in a volatile cache: only flush() makes it durable,
  /// and unflushed writes may reach the medium in any order, or not at all.
  [[nodiscard]] virtual Status write(std::uint64_t offset, std::span<const std::byte> buffer) = 0;
  /// One of several transfers; the memory stays the caller's.
  struct Transfer {
    std::uint64_t offset = 0;
    std::span<const std::byte> data;
  };
  /// write() of each, in any order or at once; on error, any of them may have happened.
  [[nodiscard]] virtual Status write_all(std::span<const Transfer> transfers) {
    for (const auto& transfer : transfers) {
      SBENCH_TRY(write(transfer.offset, transfer.data));
    }
    return {};
  }
  /// write_all() that may still go on when it returns; the memory is left alone until finish_writes(), which tells how it
  /// went. For one user at a time; its reads of the ranges, and flush(), come after finish_writes().
  [[nodiscard]] virtual Status begin_writes(std::span<const Transfer> transfers) { return write_all(transfers); }
  [[nodiscard]] virtual Status finish_writes() { return {}; }
  struct Fill {
    std::uint64_t offset = 0;
    std::span<std::byte> data;
  };
  /// read() of each, in any order or at once.
  [[nodiscard]] virtual Status read_all(std::span<const Fill> fills) {
    for (const auto& fill : fills) {
      SBENCH_TRY(read(fill.offset, fill.data));
    }
    return {};
  }
  /// Everything written before the call is durable when it returns.
  [[nodiscard]] virtual Status flush() = 0;
  /// The range's content becomes unspecified; a device without discard does nothing.
  [[nodiscard]] virtual Status discard(std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace sbench
