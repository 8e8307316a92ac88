// object.h: an object (a sequence of blocks below one pointer) and the set of objects that a dataset is.
//
// Changes stand in memory as dirty blocks until sync() writes them to new
// places, children before parents, and frees what they replace. Blocks that a
// sequential writer has left behind go there earlier, while it goes on. Reads see
// dirty blocks first. Who writes a part of a block does not wait for the rest. Not thread-safe: the pool's lock is held.
#pragma once

#include <map>
#include <optional>
#include <memory>
#include <algorithm>
#include <functional>
#include <set>
#include <unordered_map>

#include "drivers/cow_fs/block_store.h"
#include "drivers/cow_fs/space.h"

namespace sbench::cow_fs {

/// What all object sets of a pool share.
struct Core {
  Core(BlockIo& io, const LabelHeader& header, std::uint64_t cache_bytes) : blocks(io, header, cache_bytes), space(header) {}
  BlockStore blocks;
  Space space;
  std::uint64_t group = 1;        ///< the open transaction group
  std::uint64_t dirty_bytes = 0;  ///< of all objects' dirty blocks
  std::uint64_t dirty_objects = 0;
  std::uint64_t blocks_written = 0;
  std::uint64_t bytes_written = 0;
  bool write_behind = false;  ///< blocks may be written before their group is (never while a log is replayed)
};

/// Who keeps account of an object set's blocks.
class Accounts {
 public:
  virtual ~Accounts() = default;
  virtual void born(const BlockPointer& pointer) = 0;
  /// The set no longer has the block.
  [[nodiscard]] virtual Status freed(const BlockPointer& pointer) = 0;
};

/// Blocks below one block of `level`.
[[nodiscard]] std::uint64_t span_of(unsigned level);

class ObjectSet;

class Object {
 public:
  Object(ObjectSet& set, std::uint64_t id, const Dnode& dnode) : set_(set), id_(id), dnode_(dnode) {}

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] const Dnode& dnode() const { return dnode_; }
  /// For changes of the bonus; the object is dirty afterwards.
  [[nodiscard]] Dnode& change();
  [[nodiscard]] ObjectSet& set() { return set_; }

  /// The bytes at `offset`, zeros where nothing was written; not limited by size.
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> into);
  /// Blocks get `record_bytes` once the content needs more than one; until then there is one as large as needed.
  /// Grows size.
  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> from, std::uint32_t record_bytes);
  /// Sets size; what lay behind it is gone.
  [[nodiscard]] Status truncate(std::uint64_t size);
  /// The range reads as zeros; whole blocks in it are freed. Size stays.
  [[nodiscard]] Status punch(std::uint64_t offset, std::uint64_t length);
  /// First byte at or behind `offset`, below size, that is in a block (`data`) or in a hole; size when there is none.
  [[nodiscard]] Result<std::uint64_t> seek(std::uint64_t offset, bool data);

  /// A block as a whole, for structures kept in blocks; nothing when it is a hole.
  [[nodiscard]] Result<BytesRef> block(std::uint64_t index) { return view(0, index); }
  [[nodiscard]] Result<bool> has_block(std::uint64_t index);
  /// The first block at or behind `index` that is no hole; nothing when there is none. Holes cost nothing, however large.
  [[nodiscard]] Result<std::optional<std::uint64_t>> next_block(std::uint64_t index);
  /// To be changed; zeros when it was a hole.
  [[nodiscard]] Result<std::span<std::byte>> modify_block(std::uint64_t index);
  [[nodiscard]] Status free_blocks(std::uint64_t first, std::uint64_t end);
  /// Only while the object has no block but the first, else EUCLEAN: no sound directory asks for it.
  [[nodiscard]] Status set_block_bytes(std::uint32_t bytes);

  [[nodiscard]] Status sync();
  [[nodiscard]] bool is_dirty() const { return dirty_; }

  std::uint64_t references = 0;  ///< of the file system above: lookups and open files
  std::uint64_t handles = 0;     ///< open files among them

 private:
  friend class ObjectSet;
  using DirtyBlock = std::shared_ptr<Bytes>;
  static std::uint64_t key(unsigned level, std::uint64_t block) { return std::uint64_t{level} << 56 | block; }

  void mark_dirty();
  [[nodiscard]] Result<BlockPointer> pointer(unsigned level, std::uint64_t block);
  [[nodiscard]] Result<BytesRef> view(unsigned level, std::uint64_t block);
  /// As the device has it, whatever is dirty.
  [[nodiscard]] Result<BytesRef> stored(unsigned level, std::uint64_t block);
  [[nodiscard]] bool belongs(const BlockPointer& pointer, unsigned level) const;
  /// Whether view() can answer, be it with an error, without the device.
  [[nodiscard]] bool is_at_hand(unsigned level, std::uint64_t block);
  [[nodiscard]] Result<Bytes*> modify(unsigned level, std::uint64_t block, bool whole);
  [[nodiscard]] Status set_pointer(unsigned level, std::uint64_t block, const BlockPointer& pointer);
  [[nodiscard]] Status grow_levels(std::uint64_t block);
  [[nodiscard]] Status fit_block_bytes(std::uint64_t end, std::uint32_t record_bytes);
  [[nodiscard]] Result<std::optional<std::uint64_t>> next_below(unsigned level, std::uint64_t block, std::uint64_t index);
  /// Blocks of pointers that are still to be met: a tree that names some twice ends in an error, not in ages.
  struct Budget {
    std::uint64_t blocks = 0;
  };
  [[nodiscard]] Status free_below(unsigned level, std::uint64_t index, std::uint64_t first, std::uint64_t end, bool doomed,
                                  Budget& budget);
  [[nodiscard]] Status free_pointer(const BlockPointer& pointer);
  [[nodiscard]] Status write_block(unsigned level, std::uint64_t block, const DirtyBlock& content);
  void read_ahead(std::uint64_t block);
  [[nodiscard]] Status write_within(std::uint64_t index, std::uint64_t at, std::span<const std::byte> from);
  [[nodiscard]] Status complete(std::uint64_t block);
  [[nodiscard]] Status complete_all();
  [[nodiscard]] Status write_behind(std::uint64_t offset, std::uint64_t end);
  void drop_dirty(std::map<std::uint64_t, DirtyBlock>::iterator from, std::map<std::uint64_t, DirtyBlock>::iterator to);
  [[nodiscard]] BlockKind kind(unsigned level) const;
  [[nodiscard]] Error locate(const Error& error, unsigned level, std::uint64_t block) const;

  ObjectSet& set_;
  std::uint64_t id_;
  Dnode dnode_;
  bool dirty_ = false;
  std::map<std::uint64_t, DirtyBlock> dirty_blocks_;  ///< by key()
  struct Written {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  /// Dirty data blocks of which only these bytes are there: the rest is read when somebody wants it, or by sync().
  std::map<std::uint64_t, std::vector<Written>> partial_;
  std::uint64_t next_read_ = 0;                       ///< block that a sequential reader asks for next
  std::uint64_t ahead_ = 0;                           ///< blocks before this one were read ahead
  std::uint64_t run_begin_ = 0;                       ///< where the writer began that goes on in sequence
  std::uint64_t run_end_ = 0;                         ///< where it goes on
  std::uint64_t behind_ = 0;                          ///< its blocks before this one were written
};

using ObjectRef = std::shared_ptr<Object>;

class ObjectSet {
 public:
  /// `label` names the set in errors. `compression` is for file data; metadata is always compressed.
  ObjectSet(Core& core, Accounts& accounts, std::string label, Compression compression);

  /// An empty one, all in memory.
  void make(std::uint64_t first_object);
  [[nodiscard]] Status load(const BlockPointer& objects);

  /// ENOENT when there is no object with this number.
  [[nodiscard]] Result<ObjectRef> open(std::uint64_t id);
  /// With the next number, or the given one.
  [[nodiscard]] Result<ObjectRef> create(ObjectType type, std::uint64_t id = 0);
  /// Frees its blocks and its number (which is not used again).
  [[nodiscard]] Status remove(const ObjectRef& object);
  /// Calls `visit` with every object in use.
  [[nodiscard]] Status for_each(const std::function<Status(const ObjectRef&)>& visit);

  /// Writes all changes; the pointer of the set afterwards.
  [[nodiscard]] Result<BlockPointer> sync();
  [[nodiscard]] bool is_dirty() const { return changed_ || !dirty_.empty(); }
  /// Objects in memory that nobody refers to are forgotten.
  void trim();

  [[nodiscard]] std::uint64_t objects() const { return block_.objects; }
  [[nodiscard]] std::uint64_t next_object() const { return block_.next_object; }
  /// Numbers below `next` are not given out any more.
  void skip_numbers(std::uint64_t next) { block_.next_object = std::max(block_.next_object, next); }
  /// No set can have as many objects.
  static constexpr std::uint64_t kObjectsMax = std::uint64_t{1} << 52;
  [[nodiscard]] Core& core() { return core_; }
  [[nodiscard]] Accounts& accounts() { return accounts_; }
  [[nodiscard]] const std::string& label() const { return label_; }
  void set_compression(Compression compression) { compression_ = compression; }

 private:
  friend class Object;
  Core& core_;
  Accounts& accounts_;
  std::string label_;
  Compression compression_;
  ObjectSetBlock block_;
  BlockPointer pointer_;
  std::unique_ptr<Object> dnodes_;
  std::unordered_map<std::uint64_t, ObjectRef> open_;
  std::set<std::uint64_t> dirty_;
  bool changed_ = false;
};

/// Whether a dnode read from the device can be used.
[[nodiscard]] bool is_plausible(const Dnode& dnode);

}  // namespace sbench::cow_fs
