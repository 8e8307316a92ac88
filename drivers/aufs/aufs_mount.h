// aufs_mount.h: mounts of the kernel's aufs.
//
// Written after aufs' own documentation (aufs(5)) and Docker's use of it; kernels
// with aufs are rare, and none was at hand to run this on.
#pragma once

#include <filesystem>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

struct AufsMount {
  std::filesystem::path top;
  bool writable = true;
  std::vector<std::filesystem::path> below;  ///< nearest first
};

/// Mounts it: as many branches as fit in a page of options, the rest appended one by one.
[[nodiscard]] Status mount_aufs(const AufsMount& wanted, const std::filesystem::path& target);

/// Flushes pseudo-links (`auplink`, where that is installed) and unmounts; EBUSY is tried again for half a second.
[[nodiscard]] Status unmount_aufs(const std::filesystem::path& target);

}  // namespace sbench
