// backing.h: the file system between a driver's directories and the device.
//
// How each is made (the rest is the program's own default):
//   ext4   mkfs.ext4 -i 8192 -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0
//          (inodes for many small layers; no blocks kept for root; nothing left
//          for the kernel to initialise in the background while we measure)
//   xfs    mkfs.xfs -K -m reflink=1
//   btrfs  mkfs.btrfs -K (metadata as mkfs.btrfs decides: two copies on one device)
//   folder not made: an empty folder of a file system that is there, of a Device of that kind. What an
//          ordinary user has; it is mounted (bound) as that file system is.
// Discarding the device before is the caller's choice (Device::discard_all).
//
// Everything is mounted noatime: reading writes nothing, so that device writes
// are the driver's alone. All other mount options are the kernel's defaults.
#pragma once

#include <filesystem>
#include <string>

#include "drivers/base/result.h"
#include "drivers/block/device.h"
#include "drivers/driver.h"

namespace sbench {

/// zfs only as something that is mounted already (Backing::take): its own programs make it.
enum class BackingType { ext4, xfs, btrfs, zfs, folder };
[[nodiscard]] const char* to_string(BackingType type);

/// The `backing` option of drivers that take any of them; ext4 by default (harness/plan.h: for an ordinary user, folder).
[[nodiscard]] OptionSpec backing_option();
/// The type an option value names; a bug when it is none (complete_options() checks).
[[nodiscard]] BackingType parse_backing(const Options& options);

/// Whether this host can make and mount `type`: privileges, kernel and mkfs program.
[[nodiscard]] Availability probe_backing(BackingType type);

/// A mounted backing file system; unmounts when it goes. Move-only.
class Backing {
 public:
  /// Makes the file system, overwriting the device. ENOSPC, naming the minimum, when it is too small.
  [[nodiscard]] static Status format(Device& device, BackingType type);

  /// Mounts it on `root`, or adopts it where the device is mounted there already;
  /// EBUSY when something else is. `data`: further mount options.
  [[nodiscard]] static Result<Backing> mount(Device& device, BackingType type, const std::filesystem::path& root,
                                             const std::string& data = {});

  /// What is mounted on `root` already by means of its own, a ZFS dataset: unmounted when this object
  /// goes, unless it is `adopted`.
  [[nodiscard]] static Backing take(const std::filesystem::path& root, BackingType type, bool adopted);

  Backing(Backing&& other) noexcept;
  Backing& operator=(Backing&&) = delete;
  ~Backing();

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  [[nodiscard]] BackingType type() const { return type_; }
  /// It was mounted before this process came, and stays when this object goes.
  [[nodiscard]] bool adopted() const { return adopted_; }
  [[nodiscard]] const std::string& mount_options() const { return mount_options_; }
  /// Whether files can share data blocks (FICLONE). For a folder, tried.
  [[nodiscard]] bool has_reflink() const { return reflink_; }

  /// syncfs(2): data and metadata are on the device.
  [[nodiscard]] Status sync() const;
  /// Waits for space that deleted files give back in the background (xfs), so
  /// that the file system's statistics tell the truth.
  [[nodiscard]] Status settle_space() const;
  /// Leaves it mounted when this object goes.
  void keep() { mounted_ = false; }

  /// Checks that the store on it was made by `maker` ("overlay2 metacopy=on"),
  /// or writes that down on a fresh one. EINVAL naming the maker when it differs.
  [[nodiscard]] Status claim(const std::string& maker) const;

 private:
  Backing(std::filesystem::path root, BackingType type)
      : root_(std::move(root)), type_(type), reflink_(type == BackingType::xfs || type == BackingType::btrfs) {}
  [[nodiscard]] Status bind(const std::filesystem::path& folder);
  std::filesystem::path root_;
  BackingType type_;
  std::string mount_options_;
  bool reflink_ = false;
  bool mounted_ = false;
  bool adopted_ = false;
};

/// "overlay2 backing=ext4 index=off": a driver's name and options, for claim().
/// `transient` options may differ between openings.
[[nodiscard]] std::string describe_maker(const std::string& driver, const Options& options,
                                         const std::string& transient = {});

}  // namespace sbench
