// fuse_cost.h: what FUSE itself costs here: the same work on two equal cow_fs pools in memory, one mounted.
//
// One pool is used in process through FileSystem, the other through the kernel and a server, set up as
// engine=userspace has it. They take turns, so that what disturbs the machine disturbs both. No device plays a part.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::zfs {

struct FuseCost {
  std::string operation;
  std::vector<double> in_process_us;  ///< an operation's mean time in each turn
  std::vector<double> mounted_us;     ///< as many
};

/// Some 0.3 s on an idle machine. Mounts below `folder`, and takes that away again. Needs what the engine needs.
[[nodiscard]] Result<std::vector<FuseCost>> measure_fuse_cost(const std::filesystem::path& folder);

}  // namespace sbench::zfs
