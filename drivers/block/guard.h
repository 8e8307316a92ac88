// guard.h: what stands between sbench and somebody's data.
//
// sbench formats devices as root. Before a real device is opened, everything
// that says "in use" is looked at; nothing here ever writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// What can be found out about a block device without writing to it.
struct DeviceFacts {
  std::string path;         ///< with symbolic links resolved
  std::uint64_t size_bytes = 0;
  bool is_block_device = false;
  bool read_only = false;
  std::vector<std::string> mounted_at;  ///< mount points of it or of one of its partitions, in any process' namespace
  bool used_as_swap = false;
  std::vector<std::string> holders;     ///< devices stacked on it (dm, md, …), from /sys
  std::vector<std::string> partitions;  ///< kernel names of its partitions
  bool busy = false;                    ///< an exclusive open was refused
  std::string signature;                ///< "ext4 file system", "LVM2_member", "gpt partition table"; empty when blank
};

/// Error when `path` cannot be inspected (missing, no permission).
[[nodiscard]] Result<DeviceFacts> inspect_device(const std::filesystem::path& path);

/// Throws UsageError, in one line with the remedy, unless the device may be
/// formatted: a block device, writable, of at least `size_bytes_min`, unused in
/// every way; and blank, unless `wipe` allows a signature to be overwritten.
void require_formattable(const DeviceFacts& facts, std::uint64_t size_bytes_min, bool wipe);

}  // namespace sbench
