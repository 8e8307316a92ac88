// block_store.h: blocks by block pointer: verified reads, a bounded cache keyed by device address, collected writes.
//
// Two trees that share a block share its cached copy, whoever read it first.
// Every block that comes from the device is checked against its pointer's
// checksum before anybody sees it. Not thread-safe: the pool's lock is held.
#pragma once

#include <list>
#include <unordered_map>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/cow_fs/bytes.h"
#include "drivers/cow_fs/format.h"
#include "drivers/cow_fs/streams.h"

namespace sbench::cow_fs {

struct CacheFigures {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t bytes = 0;
};

class BlockStore {
 public:
  BlockStore(BlockIo& io, const LabelHeader& header, std::uint64_t cache_bytes)
      : io_(io), header_(header), streams_(io), cache_bytes_(cache_bytes) {}
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  /// The block's logical content. EUCLEAN, naming the block, when it is not what its pointer says.
  [[nodiscard]] Result<BytesRef> read(const BlockPointer& pointer);
  /// Brings those of the blocks that are not cached into the cache, in one go; what cannot be read is left to read().
  void read_ahead(std::span<const BlockPointer> pointers);
  [[nodiscard]] bool is_cached(const BlockPointer& pointer) const;

  struct Encoded {
    BlockPointer pointer;  ///< without an address
    BytesRef physical;
  };
  /// What is to be written for `content`: compressed where that saves a sector, without a tail of zeros otherwise.
  [[nodiscard]] static Encoded encode(const BytesRef& content, BlockKind kind, unsigned level, Compression compression);
  /// Collects the write, and caches the content under the pointer's address. Once there is much, the device begins.
  /// An error may be an earlier block's; from then on, all fail.
  [[nodiscard]] Status write(const Encoded& encoded, const BytesRef& content);
  /// Collected writes have been handed to the device when it returns (not flushed).
  [[nodiscard]] Status write_collected();
  void forget(std::uint64_t address);
  /// All that can be read from the device again.
  void drop_cache();

  [[nodiscard]] BlockIo& io() { return io_; }
  [[nodiscard]] CacheFigures figures() const { return {hits_, misses_, cached_}; }
  /// Whether sizes and compression of a pointer make sense, and it stands where blocks may: in one region, behind its maps.
  [[nodiscard]] bool is_plausible(const BlockPointer& pointer) const;
  /// No pool has more blocks: what counts beyond goes in circles.
  [[nodiscard]] std::uint64_t blocks_max() const { return header_.device_bytes / kSector; }

 private:
  struct Cached {
    std::uint64_t birth = 0;
    BytesRef content;
    std::list<std::uint64_t>::iterator use;
  };
  [[nodiscard]] Status begin_collected();
  [[nodiscard]] Status finish_writing();
  Status note(const Status& status);
  void put(std::uint64_t address, std::uint64_t birth, BytesRef content);
  [[nodiscard]] BytesRef find(const BlockPointer& pointer);

  BlockIo& io_;
  LabelHeader header_;
  Streams streams_;
  std::uint64_t cache_bytes_;
  std::unordered_map<std::uint64_t, Cached> cache_;
  std::list<std::uint64_t> uses_;  ///< addresses, most recently used first
  std::uint64_t cached_ = 0;
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
  std::vector<std::pair<std::uint64_t, BytesRef>> collected_;
  std::uint64_t collected_bytes_ = 0;
  std::vector<BytesRef> writing_;  ///< what the device has begun to write
  Status failed_;                  ///< what was to be written is lost
};

/// The logical content of a block whose physical bytes were read; EUCLEAN when they are not what the pointer says.
[[nodiscard]] Result<BytesRef> decode(const BlockPointer& pointer, BytesRef physical);
/// "data block at 1234567 (level 0, group 17)".
[[nodiscard]] std::string describe(const BlockPointer& pointer);

}  // namespace sbench::cow_fs
