// tree_search.h: reading btrfs's own trees: data extents and quota groups.
//
// Source of the item layouts: linux/btrfs_tree.h; integers are little-endian on disk.
#pragma once

#include <cstdint>

#include "drivers/base/result.h"

namespace sbench::btrfs {

/// Allocated bytes of the data extents that subvolume `id` refers to and that
/// were made after transaction `after_transaction`; each extent once.
[[nodiscard]] Result<std::uint64_t> sum_data_extents(int fd, std::uint64_t id, std::uint64_t after_transaction);

/// Exclusive bytes of the quota group 0/id. ENOENT when there is none.
[[nodiscard]] Result<std::uint64_t> read_quota_exclusive(int fd, std::uint64_t id);

}  // namespace sbench::btrfs
