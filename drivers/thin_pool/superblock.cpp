#include "drivers/thin_pool/superblock.h"

#include <array>
#include <optional>

#include "drivers/base/units.h"
#include "drivers/thin_pool/block_cache.h"

namespace sbench::thin_pool {

namespace {

Status write_slot(BlockIo& io, Superblock& superblock, std::uint64_t slot) {
  Block block;
  superblock.checksum = 0;
  std::memcpy(block.bytes, &superblock, sizeof(superblock));
  superblock.checksum = block_checksum(block.bytes);
  std::memcpy(block.bytes, &superblock.checksum, sizeof(superblock.checksum));
  return io.write(slot * kBlockBytes, block.bytes);
}

/// What is wrong with the bytes of a slot; empty when nothing is.
std::string fault_of(const Block& block, const Superblock& superblock) {
  const Superblock fresh;
  if (std::memcmp(superblock.magic, fresh.magic, sizeof(fresh.magic)) != 0) {
    return "no superblock of a thin pool";
  }
  if (superblock.checksum != block_checksum(block.bytes)) {
    return "wrong checksum";
  }
  if (superblock.version != fresh.version) {
    return fmt::format("format version {}, this program knows {}", superblock.version, fresh.version);
  }
  const bool sound = superblock.chunk_bytes >= kChunkBytesMin && superblock.chunk_bytes <= kChunkBytesMax &&
                     superblock.chunk_bytes % kChunkBytesMin == 0 &&
                     superblock.metadata.size > kSuperblockSlots &&
                     superblock.metadata.size <= superblock.data_offset / kBlockBytes &&
                     superblock.data_offset % kBlockBytes == 0 && superblock.data_offset <= superblock.device_bytes &&
                     superblock.data.size > 0 && superblock.metadata.size <= kCountedMax &&
                     superblock.data.size <= kCountedMax &&
                     superblock.data.size <= (superblock.device_bytes - superblock.data_offset) / superblock.chunk_bytes &&
                     superblock.metadata.allocated <= superblock.metadata.size &&
                     superblock.data.allocated <= superblock.data.size && superblock.time < kTimes;
  return sound ? "" : "sizes that do not fit together";
}

}  // namespace

Result<FoundSuperblock> read_superblock(BlockIo& io) {
  std::optional<Superblock> newest;
  std::array<std::string, kSuperblockSlots> faults;
  for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {
    Block block;
    Superblock superblock;
    if (io.size_bytes() < (slot + 1) * kBlockBytes) {
      faults[slot] = "beyond the end of the device";
      continue;
    }
    if (const Status done = io.read(slot * kBlockBytes, block.bytes); !done.ok()) {
      faults[slot] = done.error().what;
      continue;
    }
    std::memcpy(&superblock, block.bytes, sizeof(superblock));
    faults[slot] = fault_of(block, superblock);
    if (faults[slot].empty() && (!newest || superblock.transaction > newest->transaction)) {
      newest = superblock;
    }
  }
  if (!newest) {
    return plain_error(EUCLEAN, "there is no thin pool, or its superblocks are damaged: slot 0: {}; slot 1: {}",
                       faults[0], faults[1]);
  }
  if (io.size_bytes() < newest->device_bytes) {
    return plain_error(ENOSPC, "the device has shrunk: it has {}, the pool on it was made for {}",
                       human_size(static_cast<double>(io.size_bytes())),
                       human_size(static_cast<double>(newest->device_bytes)));
  }
  FoundSuperblock found{*newest, {}};
  for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {
    if (!faults[slot].empty()) {
      found.findings.push_back(fmt::format("superblock slot {}: {}; transaction {} of the other slot holds", slot,
                                           faults[slot], newest->transaction));
    }
  }
  return found;
}

Status write_superblock(BlockIo& io, Superblock superblock) {
  superblock.clean = 0;
  return write_slot(io, superblock, superblock.transaction % kSuperblockSlots);
}

Status write_clean_superblock(BlockIo& io, Superblock superblock) {
  superblock.clean = 1;
  for (std::uint64_t turn = 1; turn <= kSuperblockSlots; ++turn) {  // the older slot first
    SBENCH_TRY(write_slot(io, superblock, (superblock.transaction + turn) % kSuperblockSlots));
    SBENCH_TRY(io.flush());
  }
  return {};
}

}  // namespace sbench::thin_pool
