// superblock.h: the two slots that say where everything else is.
//
// Transaction t goes into slot t % 2, after everything it names is on the
// device; so a torn superblock leaves the one before it, whose blocks are all
// still there. A pool closed in good order has the same superblock in both.
#pragma once

#include <string>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/thin_pool/format.h"

namespace sbench::thin_pool {

struct FoundSuperblock {
  Superblock superblock;
  std::vector<std::string> findings;  ///< about the slot that was not taken
};

/// The newest sound one. EUCLEAN saying what is wrong with both; ENOSPC when the device has shrunk.
[[nodiscard]] Result<FoundSuperblock> read_superblock(BlockIo& io);
/// Writes it, checksummed, into its transaction's slot; does not flush.
[[nodiscard]] Status write_superblock(BlockIo& io, Superblock superblock);
/// Into both slots, marked clean, each flushed.
[[nodiscard]] Status write_clean_superblock(BlockIo& io, Superblock superblock);

}  // namespace sbench::thin_pool
