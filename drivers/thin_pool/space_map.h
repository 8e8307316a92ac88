// space_map.h: how many references each block (of metadata) or chunk (of data) has.
//
// On disk: pages of 32-bit counts, reached through one or two levels of index
// blocks, all shadow-paged. A page that changes is copied in memory at once,
// but gets its new place only when the transaction is sealed (relocate): the
// metadata's own map changes while its pages are placed, and this way each page
// moves once a transaction and the recursion ends.
//
// A block that is freed, or was reserved and not yet counted, is *held*: it has
// no references but is not given out, because the last committed transaction
// still reads it, or because its data is being written. Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "drivers/thin_pool/block_cache.h"

namespace sbench::thin_pool {

class SpaceMap {
 public:
  /// Counts for blocks [0, size), all 0.
  SpaceMap(BlockCache& cache, std::string name, std::uint64_t size);
  /// Reads the index blocks of a committed map.
  [[nodiscard]] Status load(const SpaceMapRoot& root);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t allocated() const { return allocated_; }
  /// Blocks that could be given out now.
  [[nodiscard]] std::uint64_t available() const { return size_ - allocated_ - held_count_; }
  /// Blocks a whole copy of the map takes: what relocate() needs at most.
  [[nodiscard]] std::uint64_t blocks_in_map() const { return places_.size() + index_places_.size() + 1; }

  [[nodiscard]] Result<std::uint32_t> count(std::uint64_t block);
  /// EUCLEAN when the count would leave its range: the map and the trees disagree.
  [[nodiscard]] Status add(std::uint64_t block);
  /// Returns the count that is left; a block with 0 is held until release_sealed() after the next seal().
  [[nodiscard]] Result<std::uint32_t> remove(std::uint64_t block);

  /// A block without references, held until it is counted (add) or let go. ENOSPC.
  [[nodiscard]] Result<std::uint64_t> reserve();
  /// Gives a reserved block back at once.
  void let_go(std::uint64_t block) { unhold(block); }

  /// Gives every changed page and index block a place, taken from `metadata` (which may be this map).
  [[nodiscard]] Status relocate(SpaceMap& metadata);
  /// Whether pages changed that relocate() has not placed yet.
  [[nodiscard]] bool has_unplaced() const;
  /// Fills the index blocks with what relocate() decided; returns the root to be written down.
  [[nodiscard]] SpaceMapRoot finish();
  /// The changes are part of a sealed transaction. Blocks freed until now go free at release_sealed().
  void seal();
  /// Blocks that the sealed transaction freed, before release_sealed().
  [[nodiscard]] const std::vector<std::uint64_t>& freed_by_sealed() const { return sealed_freed_; }
  void release_sealed();

  /// Calls `visit` with the metadata blocks the committed map occupies.
  [[nodiscard]] Status for_each_own_block(const std::function<Status(std::uint64_t)>& visit) const;

 private:
  struct Page {
    BlockPtr block;
    bool placed = false;
  };
  [[nodiscard]] Result<const Block*> page(std::uint64_t number);
  [[nodiscard]] Result<std::uint32_t*> changeable(std::uint64_t block);
  [[nodiscard]] Status move(std::uint64_t& place, SpaceMap& metadata, const BlockPtr& block, BlockKind kind);
  [[nodiscard]] bool two_levels() const { return places_.size() > kLinksPerIndex; }
  void hold(std::uint64_t block);
  void unhold(std::uint64_t block);

  BlockCache& cache_;
  std::string name_;
  std::uint64_t size_;
  std::uint64_t allocated_ = 0;
  std::vector<std::uint64_t> places_;        ///< of each page; 0: never written, all counts 0
  std::vector<std::uint64_t> index_places_;  ///< of the lower index blocks; empty with one level
  std::uint64_t root_place_ = 0;
  BlockPtr keeper_;  ///< keeps what page() returned alive

  std::map<std::uint64_t, Page> changed_;
  std::map<std::uint64_t, BlockPtr> changed_index_;
  BlockPtr changed_root_;

  std::vector<bool> held_;
  std::uint64_t held_count_ = 0;
  std::vector<std::uint64_t> freed_;         ///< by the running transaction
  std::vector<std::uint64_t> sealed_freed_;  ///< by the one being written
  std::vector<bool> full_;                   ///< pages known to have nothing to give
  std::uint64_t next_ = 0;                   ///< where reserve() looks first
};

}  // namespace sbench::thin_pool
