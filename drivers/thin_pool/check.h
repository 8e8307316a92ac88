// check.h: is a pool whole? Every reference is followed and counted.
//
// Reads only. Damage is a finding, not an error: the report names the block,
// whose it is and what is wrong with it, and goes on with the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/block/block_io.h"

namespace sbench::thin_pool {

struct CheckReport {
  std::vector<std::string> findings;  ///< empty: the pool is whole
  std::vector<std::string> notes;     ///< worth knowing, no damage: a superblock slot that a power loss tore
  std::uint64_t transaction = 0;
  std::uint64_t devices = 0;
  std::uint64_t mapped_chunks = 0;  ///< over all devices, shared ones counted for each
  std::uint64_t data_chunks_used = 0;
  std::uint64_t metadata_blocks_used = 0;
};

/// Takes four bytes of memory for each metadata block and data chunk.
[[nodiscard]] CheckReport check_pool(BlockIo& io);

}  // namespace sbench::thin_pool
