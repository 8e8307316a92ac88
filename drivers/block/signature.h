// signature.h: what already lies on a device, by libblkid, its partitions included.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/block/device_users.h"

namespace sbench {

struct DeviceContent {
  std::vector<std::string> signatures;  ///< "ext4 labelled 'home'", "a gpt partition table", "xfs on sdb2"; empty: blank
  /// Part of something that other devices have the rest of (md, LVM, zfs, btrfs over several): assembled or not.
  std::vector<DeviceUse> memberships;
};

/// Reads through `fd`, of the device `family` is about; an area that cannot be read is an error, not a blank.
[[nodiscard]] Result<DeviceContent> read_content(int fd, const std::string& path, const DeviceFamily& family,
                                                 const SystemPlaces& places = {});

}  // namespace sbench
