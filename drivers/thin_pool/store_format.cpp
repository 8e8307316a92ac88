// store_format.cpp: the thin pool for `sbench check`, `dump` and `restore`.
#include "drivers/store_format.h"

#include <cstring>

#include "drivers/base/units.h"
#include "drivers/thin_pool/block_cache.h"
#include "drivers/thin_pool/check.h"
#include "drivers/thin_pool/dump.h"

namespace sbench {

namespace {

using namespace thin_pool;

/// The magic in either superblock slot.
bool recognises(BlockIo& io) {
  const Superblock fresh;
  for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {
    Block block;
    Superblock superblock;
    if (io.size_bytes() < (slot + 1) * kBlockBytes || !io.read(slot * kBlockBytes, block.bytes).ok()) {
      continue;
    }
    std::memcpy(&superblock, block.bytes, sizeof(superblock));
    if (std::memcmp(superblock.magic, fresh.magic, sizeof(fresh.magic)) == 0) {
      return true;
    }
  }
  return false;
}

StoreReport check(BlockIo& io) {
  CheckReport found = check_pool(io);
  StoreReport report{std::move(found.findings), std::move(found.notes), {}};
  if (found.transaction > 0) {
    report.figures = {
        {"transaction", std::to_string(found.transaction)},
        {"devices", std::to_string(found.devices)},
        {"mapped_chunks", std::to_string(found.mapped_chunks)},
        {"data_chunks_used", std::to_string(found.data_chunks_used)},
        {"metadata_blocks_used", std::to_string(found.metadata_blocks_used)},
    };
  }
  return report;
}

}  // namespace

StoreFormat thin_pool_format() { return {"thin_pool", recognises, check, dump_pool, restore_pool}; }

}  // namespace sbench
