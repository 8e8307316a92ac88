// abandoned_pools.h: takes down what a killed process left in the kernel's device mapper.
//
// The kernel's own list is the journal: each of our devices names its maker in its
// UUID (pool_place.h), so there is no moment at which one stands and is not noted.
// A pool is abandoned when its maker is gone and none of its thin devices is in
// use; one kept by `sbench layer mount` has mounts, and is left alone.
#pragma once

#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::devicemapper {

/// Removes every abandoned device; returns the names of those that went. Nothing
/// where the kernel has no device mapper.
[[nodiscard]] Result<std::vector<std::string>> remove_abandoned_pools();

}  // namespace sbench::devicemapper
