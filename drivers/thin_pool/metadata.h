// metadata.h: what a pool knows: its devices, where their chunks are, which blocks are free.
//
// Changes gather in the running transaction, in memory. Committing one takes
// three steps, so that the next can gather while the device is slow:
//   seal()     places the space maps, checksums the new blocks (with the lock held)
//   write()    metadata, flush, superblock, flush              (without the lock)
//   settle()   blocks freed by the transaction may be given out again  (with the lock)
// Until settle(), nothing the last committed transaction names is overwritten.
//
// One thread at a time (the pool's lock), write() excepted. A change that is
// refused (ENOSPC, EEXIST, ENOENT, EINVAL) changes nothing. After an error in the
// middle of one, the running transaction is not whole: every later change and
// commit fails with that error, and reading goes on.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "drivers/thin_pool/btree.h"
#include "drivers/thin_pool/superblock.h"

namespace sbench::thin_pool {

using DeviceId = std::uint32_t;

class Metadata {
 public:
  /// Writes an empty pool.
  [[nodiscard]] static Status format(BlockIo& io, const Geometry& geometry, bool skip_zeroing);
  /// `cache_bytes`: clean metadata kept in memory.
  [[nodiscard]] static Result<std::unique_ptr<Metadata>> open(BlockIo& io, std::uint64_t cache_bytes);

  [[nodiscard]] const Superblock& superblock() const { return superblock_; }
  /// What opening noticed without having to refuse.
  [[nodiscard]] const std::vector<std::string>& findings() const { return findings_; }

  /// EEXIST; ENOSPC without metadata space.
  [[nodiscard]] Status create_device(DeviceId id, std::uint64_t size_bytes);
  /// EEXIST, ENOENT.
  [[nodiscard]] Status create_snapshot(DeviceId id, DeviceId origin);
  [[nodiscard]] Status delete_device(DeviceId id);
  [[nodiscard]] Status grow_device(DeviceId id, std::uint64_t size_bytes);
  /// ENOENT naming the device.
  [[nodiscard]] Result<DeviceRecord> device(DeviceId id);
  [[nodiscard]] Result<std::vector<DeviceId>> device_ids();

  struct Found {
    bool mapped = false;  ///< `block` holds its data
    bool shared = false;  ///< perhaps with another device: copy before writing
    bool zero = false;    ///< not mapped, and promised to read as zeros
    std::uint64_t block = 0;
  };
  [[nodiscard]] Result<Found> find(DeviceId id, std::uint64_t chunk);
  /// Points the chunk to a block from reserve_data(), whose data is written. ENOSPC without metadata space.
  [[nodiscard]] Status map(DeviceId id, std::uint64_t chunk, std::uint64_t block);
  /// Takes the chunk's block away; `promise_zeros`: even where the pool skips zeroing, it reads as zeros from now on.
  [[nodiscard]] Status unmap(DeviceId id, std::uint64_t chunk, bool promise_zeros);
  /// Chunks that are mapped or promised, in order, from `first` to `last`.
  using Visit = std::function<Result<bool>(std::uint64_t chunk, Mapping mapping)>;
  [[nodiscard]] Status for_each_mapping(DeviceId id, std::uint64_t first, std::uint64_t last, const Visit& visit);

  /// A data block nobody refers to. ENOSPC when the data space is full.
  [[nodiscard]] Result<std::uint64_t> reserve_data() { return data_->reserve(); }
  void let_go_data(std::uint64_t block) { data_->let_go(block); }
  /// ENOSPC unless mapping `chunks` neighbouring chunks can surely be committed.
  [[nodiscard]] Status check_room(std::uint64_t chunks) const;
  /// Metadata blocks that the running transaction made.
  [[nodiscard]] std::size_t new_blocks() const { return cache_->new_blocks(); }
  [[nodiscard]] bool changed() const { return changed_; }

  struct Sealed {
    Superblock superblock;
    std::vector<BlockPtr> blocks;
  };
  [[nodiscard]] Result<Sealed> seal();
  [[nodiscard]] Status write(const Sealed& sealed) const;
  /// Data blocks that the written transaction freed; before settle(), nobody can get them.
  [[nodiscard]] const std::vector<std::uint64_t>& freed_data() const { return data_->freed_by_sealed(); }
  void settle();
  /// A sealed transaction could not be written: nothing can be changed any more.
  void fail(const Error& why) { failure_ = why; }
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }
  /// Marks a pool without changes as closed in good order.
  [[nodiscard]] Status write_clean() const { return write_clean_superblock(io_, superblock_); }

  [[nodiscard]] SpaceMap& data_map() { return *data_; }
  [[nodiscard]] SpaceMap& metadata_map() { return *metadata_; }
  [[nodiscard]] BTree& device_tree() { return *devices_; }
  [[nodiscard]] BTree& mapping_tree() { return *mappings_; }

  // For restoring a dump: a device as it was, its chunks sharing blocks with others.
  [[nodiscard]] Status restore_device(DeviceId id, const DeviceRecord& record);
  [[nodiscard]] Status restore_mapping(DeviceId id, std::uint64_t chunk, Mapping mapping);
  void restore_time(std::uint32_t time) { superblock_.time = time; }

 private:
  Metadata(BlockIo& io, const Superblock& superblock, std::uint64_t cache_bytes);
  [[nodiscard]] Status begin_change(std::uint64_t blocks_wanted) const;
  [[nodiscard]] Status settle_change(const Status& result);
  [[nodiscard]] Result<DeviceRecord*> changeable(DeviceId id);
  [[nodiscard]] Status add_record(DeviceId id, const DeviceRecord& record);
  [[nodiscard]] Status map_block(DeviceId id, std::uint64_t chunk, std::uint64_t block);
  [[nodiscard]] Status unmap_block(DeviceId id, std::uint64_t chunk, bool promise_zeros);
  [[nodiscard]] Status drop_device(DeviceId id);
  [[nodiscard]] Status share_device(DeviceId id, DeviceId origin);
  [[nodiscard]] Status place_everything();

  BlockIo& io_;
  Superblock superblock_;
  std::vector<std::string> findings_;
  std::unique_ptr<BlockCache> cache_;
  std::unique_ptr<SpaceMap> metadata_;
  std::unique_ptr<SpaceMap> data_;
  std::unique_ptr<BTree> devices_;
  std::unique_ptr<BTree> mappings_;
  std::unordered_map<DeviceId, DeviceRecord> changed_records_;  ///< not yet in the device tree
  std::unordered_map<DeviceId, DeviceRecord> known_records_;    ///< as in the tree; bounded
  bool changed_ = false;
  std::optional<Error> failure_;
};

}  // namespace sbench::thin_pool
