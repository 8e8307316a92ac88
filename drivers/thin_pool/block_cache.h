// block_cache.h: metadata blocks in memory: verified when read, shadow-paged when written.
//
// A block that a committed transaction wrote is never changed again; a change
// makes a new block. So blocks are either *new* (of the running transaction,
// changeable, pinned), *sealed* (of the one being written out, pinned) or clean
// (cached, bounded, dropped least recently used first).
//
// One thread at a time; write() alone may run beside the others.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/thin_pool/format.h"

namespace sbench::thin_pool {

struct alignas(512) Block {  // as O_DIRECT wants memory
  std::byte bytes[kBlockBytes] = {};

  [[nodiscard]] BlockHeader& header() { return *reinterpret_cast<BlockHeader*>(bytes); }
  [[nodiscard]] const BlockHeader& header() const { return *reinterpret_cast<const BlockHeader*>(bytes); }
  [[nodiscard]] std::uint64_t number() const { return header().block; }
  template <typename T>
  [[nodiscard]] T* body() {
    return reinterpret_cast<T*>(bytes + sizeof(BlockHeader));
  }
  template <typename T>
  [[nodiscard]] const T* body() const {
    return reinterpret_cast<const T*>(bytes + sizeof(BlockHeader));
  }
};
using BlockPtr = std::shared_ptr<Block>;

class BlockCache {
 public:
  /// `transaction`: the last committed one. `clean_max`: blocks kept beside the pinned ones.
  BlockCache(BlockIo& io, std::uint64_t blocks, std::uint64_t transaction, std::size_t clean_max)
      : io_(io), blocks_(blocks), running_(transaction + 1), clean_max_(clean_max) {}

  /// EUCLEAN, naming block and fault, when it is damaged, misplaced, of another kind, newer
  /// than the last committed transaction, or a tree's node with its keys out of order. Not to be changed unless is_new().
  [[nodiscard]] Result<BlockPtr> read(std::uint64_t number, BlockKind kind);
  /// A zeroed new block.
  [[nodiscard]] BlockPtr make(std::uint64_t number, BlockKind kind);
  /// Gives a block made elsewhere its place among the new ones.
  void place(const BlockPtr& block, std::uint64_t number, BlockKind kind);
  [[nodiscard]] bool is_new(std::uint64_t number) const { return new_.contains(number); }
  /// Forgets a new block that was freed again.
  void drop(std::uint64_t number) { new_.erase(number); }
  [[nodiscard]] std::size_t new_blocks() const { return new_.size(); }

  /// Checksums the new blocks and begins the next transaction. The returned ones are to be written, then settled.
  [[nodiscard]] std::vector<BlockPtr> seal();
  /// Writes sealed blocks, in no particular order.
  [[nodiscard]] Status write(const std::vector<BlockPtr>& sealed) const;
  /// The sealed blocks are on the device.
  void settle();

 private:
  struct Clean {
    BlockPtr block;
    std::list<std::uint64_t>::iterator position;
  };
  void keep(std::uint64_t number, BlockPtr block);
  [[nodiscard]] Status verify(const Block& block, std::uint64_t number, BlockKind kind) const;

  BlockIo& io_;
  std::uint64_t blocks_;
  std::uint64_t running_;
  std::size_t clean_max_;
  std::map<std::uint64_t, BlockPtr> new_;
  std::map<std::uint64_t, BlockPtr> sealed_;
  std::unordered_map<std::uint64_t, Clean> clean_;
  std::list<std::uint64_t> recent_;  ///< clean ones, latest used first
};

/// XXH3-64 of a 4096-byte block behind its first eight bytes, where it is kept.
[[nodiscard]] std::uint64_t block_checksum(const std::byte* bytes);

}  // namespace sbench::thin_pool
