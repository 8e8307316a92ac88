// streams.h: reads of a device by readers that go on where they were: a tree's small files lie side by side.
//
// Blocks that are asked for one behind the other are read in ever larger pieces, up to 1 MiB, of which the next
// blocks are taken; from some size on, the next piece is read while they are. What the device is told to write in
// the meantime must be told to forget(). Not thread-safe.
#pragma once

#include <array>
#include <future>

#include "drivers/block/block_io.h"
#include "drivers/cow_fs/bytes.h"

namespace sbench::cow_fs {

class Streams {
 public:
  explicit Streams(BlockIo& io) : io_(io) {}
  [[nodiscard]] Status read(std::uint64_t address, std::span<std::byte> into);
  void forget(std::uint64_t address, std::uint64_t bytes);
  void forget_all() { streams_ = {}; }

 private:
  struct Stream {
    std::uint64_t next = 0;        ///< where its reader would go on; 0: no stream
    std::uint64_t ahead_bytes = 0; ///< how much was read the last time
    std::uint64_t at = 0;          ///< of the piece
    Bytes piece;
    std::uint64_t coming_at = 0;
    std::uint64_t coming_bytes = 0;  ///< 0: nothing is being read
    std::future<Bytes> coming;       ///< empty when it cannot be read
    std::uint64_t last_use = 0;
  };
  static constexpr std::size_t kStreams = 4;

  /// The stream's piece begins at `address`. False when it cannot be read.
  [[nodiscard]] bool load(Stream& stream, std::uint64_t address, std::uint64_t block_bytes);

  BlockIo& io_;
  std::array<Stream, kStreams> streams_;
  std::uint64_t uses_ = 0;
};

}  // namespace sbench::cow_fs
