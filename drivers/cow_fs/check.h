// check.h: whether a pool is whole: every block, every reference, every name.
#pragma once

#include <string>
#include <vector>

#include "drivers/block/block_io.h"

namespace sbench::cow_fs {

struct CheckReport {
  std::vector<std::string> findings;  ///< empty: the pool is whole
  std::vector<std::string> notes;     ///< worth knowing, no damage
  std::uint64_t group = 0;
  std::uint64_t datasets = 0;
  std::uint64_t objects = 0;
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

/// Reads every block that the last uberblock reaches, and nothing else; compares what is reached with the space maps,
/// names with link counts, and accounts with what they count. Damage is a finding, never an error. `with_data` false
/// leaves file data out.
[[nodiscard]] CheckReport check_pool(BlockIo& io, bool with_data = true);

}  // namespace sbench::cow_fs
