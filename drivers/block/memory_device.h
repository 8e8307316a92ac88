// memory_device.h: a block device in memory that loses power, breaks and shrinks when told to.
//
// For tests of everything that lives on a BlockIo. Writes stand in a volatile
// cache until flush(); a power loss keeps any part of them, block by block, in
// any order. A write of one block is atomic, as BlockIo promises.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "drivers/base/rng.h"
#include "drivers/block/block_io.h"

namespace sbench {

/// Thread-safe.
class MemoryDevice final : public BlockIo {
 public:
  explicit MemoryDevice(std::uint64_t size_bytes, std::uint32_t block_bytes = 512)
      : block_bytes_(block_bytes), durable_(size_bytes), bytes_(size_bytes) {}
  /// With this content, all of it durable.
  explicit MemoryDevice(std::vector<std::byte> content, std::uint32_t block_bytes = 512)
      : block_bytes_(block_bytes), durable_(content), bytes_(std::move(content)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  [[nodiscard]] std::uint32_t block_bytes() const override { return block_bytes_; }
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> buffer) override;
  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> buffer) override;
  [[nodiscard]] Status flush() override;
  [[nodiscard]] Status discard(std::uint64_t offset, std::uint64_t length) override;

  /// The power goes at the write, discard or flush after `operations` more of them: EIO from then on.
  void cut_power_after(std::uint64_t operations);
  /// Reads and writes that touch the range fail with EIO.
  void break_range(std::uint64_t offset, std::uint64_t length);
  /// What the medium may hold after a power loss now: flushed content, and of the
  /// unflushed blocks those that `rng` picks, in an order it picks.
  [[nodiscard]] std::vector<std::byte> content_after_power_loss(Rng& rng) const;

  /// What reads see. Changing it is damage that no write did.
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  [[nodiscard]] std::uint64_t flushes() const { return flushes_; }
  [[nodiscard]] std::uint64_t bytes_written() const { return bytes_written_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }
  [[nodiscard]] std::uint64_t bytes_discarded() const { return bytes_discarded_; }

 private:
  struct BlockWrite {
    std::uint64_t offset = 0;
    std::vector<std::byte> data;
  };
  [[nodiscard]] Status check(std::uint64_t offset, std::uint64_t length, const char* what) const;
  [[nodiscard]] Status count_operation();

  mutable std::mutex mutex_;
  std::uint32_t block_bytes_;
  std::vector<std::byte> durable_;
  std::vector<std::byte> bytes_;
  std::vector<BlockWrite> unflushed_;
  std::optional<std::uint64_t> operations_left_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> broken_;  ///< offset, length
  std::uint64_t operations_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_discarded_ = 0;
};

}  // namespace sbench
