// guard.h: what stands between sbench and somebody's data.
//
// sbench formats devices as root. Before a real device is opened, everything
// that says "in use" is looked at; nothing here ever writes. The device is
// claimed first (an exclusive open) and looked at under that claim, which the
// caller hands on to the Device: between the look and the format nobody can
// mount it, add it to a set, or run mkfs on it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/block/device_users.h"

namespace sbench {

/// What can be found out about a block device without writing to it.
struct DeviceFacts {
  std::string path;  ///< with symbolic links resolved
  std::uint64_t size_bytes = 0;
  bool is_block_device = false;
  bool read_only = false;
  std::vector<DeviceUse> uses;          ///< every way in which it is in use; the plainest first
  std::vector<std::string> signatures;  ///< "ext4 labelled 'home'", "a gpt partition table"; empty when blank
  Fd claim;                             ///< an exclusive open; none when something else has one
};

/// Error when `path` cannot be inspected (missing, no permission, unreadable).
/// A program that has it open only for a moment, as udev's do, is waited for.
[[nodiscard]] Result<DeviceFacts> inspect_device(const std::filesystem::path& path, const SystemPlaces& places = {});

/// Throws UsageError, in one line with the remedy, unless the device may be
/// formatted: a block device, writable, of at least `size_bytes_min`, unused in
/// every way; and blank, unless `wipe` allows signatures to be overwritten.
/// A member of a set (md, LVM, zfs, btrfs of several devices) is never let pass.
void require_formattable(const DeviceFacts& facts, std::uint64_t size_bytes_min, bool wipe);

/// The facts and the claim of a device that nothing uses: for one whose content stays. EBUSY, in one line that says
/// what uses it, when something still does after `patience_ms`; ENOTBLK for what is no block device.
[[nodiscard]] Result<DeviceFacts> claim_unused(const std::filesystem::path& path, int patience_ms = 3000,
                                               const SystemPlaces& places = {});

/// EBUSY, in one line that says what uses it, when the device or image file at `path` is in use in any way,
/// and still is after `patience_ms`: the server of a store that was just closed takes a moment. ENOTBLK for what is
/// neither.
[[nodiscard]] Status check_unused(const std::filesystem::path& path, int patience_ms = 3000,
                                  const SystemPlaces& places = {});

}  // namespace sbench
