#include "drivers/cow_fs/space.h"

#include <algorithm>

#include "drivers/cow_fs/bytes.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kNone = ~std::uint64_t{0};

}  // namespace

Space::Space(const LabelHeader& header) : header_(header) {
  const std::uint64_t end = header.device_bytes - kLabelBytes;
  for (std::uint64_t r = 0; r < header.regions; ++r) {
    Region region;
    region.sectors = (std::min(region_address(r) + header.region_bytes, end) - region_address(r)) / kSector;
    region.words.assign(header.bitmap_bytes / 8, 0);
    mark(region.words, 0, map_sectors(), true);
    mark(region.words, region.sectors, region.words.size() * 64 - region.sectors, true);
    region.free = region.sectors - map_sectors();
    region.cursor = map_sectors();
    free_sectors_ += region.free;
    regions_.push_back(std::move(region));
  }
  total_sectors_ = free_sectors_;
  maps_.resize(header.table_pages * kPointersPerPage);
}

std::uint64_t Space::region_address(std::uint64_t region) const {
  return header_.region_offset + region * header_.region_bytes;
}

void Space::mark(std::vector<std::uint64_t>& words, std::uint64_t first, std::uint64_t count, bool used) {
  for (std::uint64_t i = first; i < first + count;) {
    const std::uint64_t bit = i % 64;
    const std::uint64_t length = std::min<std::uint64_t>(64 - bit, first + count - i);
    const std::uint64_t bits = (length == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << length) - 1) << bit;
    words[i / 64] = used ? words[i / 64] | bits : words[i / 64] & ~bits;
    i += length;
  }
}

Status Space::load(BlockIo& io, const Uberblock& uberblock) {
  free_sectors_ = 0;
  for (std::uint64_t page = 0; page < header_.table_pages; ++page) {
    const BlockPointer& at = uberblock.table[page];
    Bytes sector(kSector);
    if (at.address != header_.table_offset + 2 * page * kSector &&
        at.address != header_.table_offset + (2 * page + 1) * kSector) {
      return plain_error(EUCLEAN, "page {} of the space table: its pointer makes no sense", page);
    }
    SBENCH_TRY(io.read(at.address, sector));
    if (fletcher4(sector) != at.checksum) {
      return plain_error(EUCLEAN, "page {} of the space table at {}: its checksum does not match", page, at.address);
    }
    std::memcpy(&maps_[page * kPointersPerPage], sector.data(), kSector);
  }
  for (std::uint64_t r = 0; r < regions_.size(); ++r) {
    Region& region = regions_[r];
    const BlockPointer& at = maps_[r];
    if (at.address != region_address(r) && at.address != region_address(r) + header_.bitmap_bytes) {
      return plain_error(EUCLEAN, "space map of region {}: its pointer makes no sense", r);
    }
    Bytes bytes(header_.bitmap_bytes);
    SBENCH_TRY(io.read(at.address, bytes));
    if (fletcher4(bytes) != at.checksum) {
      return plain_error(EUCLEAN, "space map of region {} at {}: its checksum does not match", r, at.address);
    }
    std::memcpy(region.words.data(), bytes.data(), bytes.size());
    // Whatever it says, the maps and what lies behind the end are no free space.
    mark(region.words, 0, map_sectors(), true);
    mark(region.words, region.sectors, region.words.size() * 64 - region.sectors, true);
    std::uint64_t used = 0;
    for (const std::uint64_t word : region.words) {
      used += static_cast<std::uint64_t>(std::popcount(word));
    }
    region.free = region.words.size() * 64 - used;
    region.dirty = false;
    free_sectors_ += region.free;
  }
  return {};
}

std::uint64_t Space::find_run(const Region& region, std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  std::uint64_t run = 0;
  for (std::uint64_t i = from; i < to;) {
    const std::uint64_t rest = region.words[i / 64] >> (i % 64);
    const std::uint64_t in_word = 64 - i % 64;
    if ((rest & 1) != 0) {
      run = 0;
      i += std::min<std::uint64_t>(static_cast<std::uint64_t>(std::countr_one(rest)), in_word);
      continue;
    }
    const std::uint64_t zeros = rest == 0 ? in_word : static_cast<std::uint64_t>(std::countr_zero(rest));
    run += std::min(zeros, to - i);
    i += zeros;
    if (run >= length) {
      return std::min(i, to) - run;
    }
  }
  return kNone;
}

Result<std::uint64_t> Space::allocate(std::uint64_t bytes) {
  const std::uint64_t length = round_up(bytes, kSector) / kSector;
  for (std::uint64_t tried = 0; tried < regions_.size(); ++tried) {
    const std::uint64_t r = (current_ + tried) % regions_.size();
    Region& region = regions_[r];
    if (region.free < length || length >= region.too_long) {
      continue;
    }
    std::uint64_t first = find_run(region, region.cursor, region.sectors, length);
    if (first == kNone) {
      first = find_run(region, map_sectors(), std::min(region.sectors, region.cursor + length - 1), length);
    }
    if (first == kNone) {
      region.too_long = length;
      continue;
    }
    mark(region.words, first, length, true);
    region.free -= length;
    region.cursor = first + length;
    region.dirty = true;
    free_sectors_ -= length;
    current_ = r;
    return region_address(r) + first * kSector;
  }
  return plain_error(ENOSPC, "the pool has no {} contiguous bytes free", bytes);
}

void Space::free(std::uint64_t address, std::uint64_t bytes) {
  const std::uint64_t sectors = round_up(bytes, kSector) / kSector;
  delayed_[0].push_back({address, sectors});
  pending_sectors_ += sectors;
  regions_[(address - header_.region_offset) / header_.region_bytes].dirty = true;
}

bool Space::is_used(std::uint64_t address) const {
  if (address < header_.region_offset) {
    return true;
  }
  const std::uint64_t r = (address - header_.region_offset) / header_.region_bytes;
  if (r >= regions_.size()) {
    return true;
  }
  const std::uint64_t sector = (address - region_address(r)) / kSector;
  return (regions_[r].words[sector / 64] >> (sector % 64) & 1) != 0;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> Space::used_ranges() const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (std::uint64_t r = 0; r < regions_.size(); ++r) {
    for (std::uint64_t i = map_sectors(); i < regions_[r].sectors; ++i) {
      if ((regions_[r].words[i / 64] >> (i % 64) & 1) == 0) {
        continue;
      }
      const std::uint64_t address = region_address(r) + i * kSector;
      if (!ranges.empty() && ranges.back().first + ranges.back().second == address) {
        ranges.back().second += kSector;
      } else {
        ranges.emplace_back(address, kSector);
      }
    }
  }
  return ranges;
}

Status Space::store(BlockIo& io, Uberblock& uberblock) {
  // On the device, what was freed is free: whoever opens it there is past these groups.
  std::vector<std::vector<const Range*>> freed(regions_.size());
  for (const auto& ranges : delayed_) {
    for (const Range& range : ranges) {
      freed[(range.address - header_.region_offset) / header_.region_bytes].push_back(&range);
    }
  }
  std::vector<bool> page_dirty(header_.table_pages, uberblock.table[0].address == 0);
  for (std::uint64_t r = 0; r < regions_.size(); ++r) {
    Region& region = regions_[r];
    if (!region.dirty) {
      continue;
    }
    std::vector<std::uint64_t> words = region.words;
    for (const Range* range : freed[r]) {
      mark(words, (range->address - region_address(r)) / kSector, range->sectors, false);
    }
    Bytes bytes(header_.bitmap_bytes);
    std::memcpy(bytes.data(), words.data(), bytes.size());
    BlockPointer& at = maps_[r];
    at.address = at.address == region_address(r) ? region_address(r) + header_.bitmap_bytes : region_address(r);
    at.physical_bytes = at.logical_bytes = static_cast<std::uint32_t>(bytes.size());
    at.birth = uberblock.group;
    at.kind = BlockKind::space;
    at.checksum = fletcher4(bytes);
    SBENCH_TRY(io.write(at.address, bytes));
    region.dirty = false;
    page_dirty[r / kPointersPerPage] = true;
  }
  for (std::uint64_t page = 0; page < header_.table_pages; ++page) {
    if (!page_dirty[page]) {
      continue;
    }
    Bytes sector(kSector);
    std::memcpy(sector.data(), &maps_[page * kPointersPerPage], kSector);
    BlockPointer& at = uberblock.table[page];
    const std::uint64_t first = header_.table_offset + 2 * page * kSector;
    at.address = at.address == first ? first + kSector : first;
    at.physical_bytes = at.logical_bytes = kSector;
    at.birth = uberblock.group;
    at.kind = BlockKind::space;
    at.checksum = fletcher4(sector);
    SBENCH_TRY(io.write(at.address, sector));
  }
  return {};
}

void Space::committed() {
  auto& oldest = delayed_[kDelayGroups - 1];
  for (const Range& range : oldest) {
    const std::uint64_t r = (range.address - header_.region_offset) / header_.region_bytes;
    mark(regions_[r].words, (range.address - region_address(r)) / kSector, range.sectors, false);
    regions_[r].free += range.sectors;
    regions_[r].too_long = kNone;
    free_sectors_ += range.sectors;
    pending_sectors_ -= range.sectors;
  }
  oldest.clear();
  std::rotate(delayed_.rbegin(), delayed_.rbegin() + 1, delayed_.rend());
}

}  // namespace sbench::cow_fs
