// space.h: which sectors are in use, by region, with delayed frees.
//
// A region's map is a bitmap; two copies of it stand at the region's start and
// are written in turn, so the one that the last uberblock names is never
// overwritten. What a group frees is given out again only two groups after it is
// durable: the groups before stay whole, should the newest uberblock be lost.
// Not thread-safe: the pool's lock is held.
#pragma once

#include <array>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/cow_fs/format.h"

namespace sbench::cow_fs {

class Space {
 public:
  /// Everything free but the maps themselves.
  explicit Space(const LabelHeader& header);
  /// Reads the maps that `uberblock` names. EUCLEAN when one is damaged.
  [[nodiscard]] Status load(BlockIo& io, const Uberblock& uberblock);

  /// A contiguous range. ENOSPC when there is none as long.
  [[nodiscard]] Result<std::uint64_t> allocate(std::uint64_t bytes);
  /// `bytes` at `address` are not needed by the open group any more.
  void free(std::uint64_t address, std::uint64_t bytes);
  /// Writes what changed, and into `uberblock` where it stands. Not flushed.
  [[nodiscard]] Status store(BlockIo& io, Uberblock& uberblock);
  /// store()'s uberblock is durable.
  void committed();

  /// What allocate() could give out now, fragmentation aside.
  [[nodiscard]] std::uint64_t free_bytes() const { return free_sectors_ * kSector; }
  /// Freed, but not yet to be given out.
  [[nodiscard]] std::uint64_t pending_bytes() const { return pending_sectors_ * kSector; }
  [[nodiscard]] std::uint64_t total_bytes() const { return total_sectors_ * kSector; }
  [[nodiscard]] bool is_used(std::uint64_t address) const;
  /// Ranges (address, bytes) that are in use, the maps left out, in order. For checks, right after load().
  [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> used_ranges() const;
  [[nodiscard]] const LabelHeader& header() const { return header_; }

 private:
  struct Region {
    std::vector<std::uint64_t> words;  ///< a bit a sector, 1: in use, or freed too recently
    std::uint64_t sectors = 0;
    std::uint64_t free = 0;
    std::uint64_t cursor = 0;          ///< where the search goes on
    std::uint64_t too_long = ~std::uint64_t{0};  ///< no free range has as many sectors
    bool dirty = true;
  };
  struct Range {
    std::uint64_t address = 0;
    std::uint64_t sectors = 0;
  };
  static constexpr std::size_t kDelayGroups = 3;

  [[nodiscard]] std::uint64_t region_address(std::uint64_t region) const;
  [[nodiscard]] static std::uint64_t find_run(const Region& region, std::uint64_t from, std::uint64_t to, std::uint64_t length);
  static void mark(std::vector<std::uint64_t>& words, std::uint64_t first, std::uint64_t count, bool used);
  [[nodiscard]] std::uint64_t map_sectors() const { return 2 * header_.bitmap_bytes / kSector; }

  LabelHeader header_;
  std::vector<Region> regions_;
  std::vector<BlockPointer> maps_;                          ///< where each region's map stands
  std::array<std::vector<Range>, kDelayGroups> delayed_;    ///< freed by the open group, the one before, …
  std::uint64_t current_ = 0;
  std::uint64_t free_sectors_ = 0;
  std::uint64_t pending_sectors_ = 0;
  std::uint64_t total_sectors_ = 0;
};

}  // namespace sbench::cow_fs
