// partition.h: the partition of a device that a pool lives on.
//
// zpool labels a whole disk itself and then waits for udev to show the pieces:
// 30 s, and an error, where there is no udev (guests, containers). So sbench
// writes the table: one MBR partition from 1 MiB to the end.
#pragma once

#include <string>

#include "drivers/base/result.h"
#include "drivers/block/device.h"

namespace sbench::zfs {

/// Writes the table, unless the device is a partition itself. EFBIG above 2 TiB of 512-byte
/// blocks: an MBR ends there; name a partition instead.
[[nodiscard]] Status write_partition_table(const Device& device);

/// The partition's block device, which the kernel is asked for where it does not show it yet;
/// the device itself when that is a partition.
[[nodiscard]] Result<std::string> partition_of(const Device& device);

/// The kernel forgets the partition: whoever uses the device next finds it whole.
void forget_partition(const Device& device);

}  // namespace sbench::zfs
