// journal.h: what the kernel keeps although the process that made it is gone.
//
// A run needs no entry: its mounts and loop devices die with it (session.h).
// `sbench layer mount` leaves mounts on purpose; each such store stands here
// until it is taken down, so that `sbench clean` can undo it. Device-mapper
// devices need no entry either: the kernel lists them, and each names its maker
// (drivers/leftovers.h); `sbench clean` and the next run remove a dead one's.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// Notes that `store_root` has mounts below it that outlive this process.
[[nodiscard]] Status journal_add(const std::filesystem::path& store_root);
[[nodiscard]] Status journal_remove(const std::filesystem::path& store_root);
/// All noted store roots.
[[nodiscard]] std::vector<std::filesystem::path> journal_entries();
/// Whether the mounts below a noted root are another mount namespace's, in which a process lives: they can only be undone there.
[[nodiscard]] bool is_mounted_elsewhere(const std::filesystem::path& store_root);

/// Unmounts everything at and below `directory` in this namespace, deepest
/// first. Returns how many mounts went; EBUSY names one that is in use.
[[nodiscard]] Result<int> unmount_below(const std::filesystem::path& directory);

}  // namespace sbench
