// fuse_cost.h: what FUSE itself costs here: the same work on two equal cow_fs pools in memory, one mounted.
//
// One pool is used in process through FileSystem, the other through the kernel and a server, set up as
// engine=userspace has it. They take turns, so that what disturbs the machine disturbs both. No device plays a part.
#pragma once

#include <filesystem>
#include <vector>

#include "drivers/driver.h"

namespace sbench::zfs {

/// Some 0.3 s on an idle machine. Mounts below `folder`, and takes that away again. Needs what the engine needs.
[[nodiscard]] Result<std::vector<FuseCost>> measure_fuse_cost(const std::filesystem::path& folder);

}  // namespace sbench::zfs
