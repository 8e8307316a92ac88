// device_users.h: who uses a block device or a file, as the kernel tells it in /proc and /sys.
//
// Nothing is written here, and nothing opened but loop devices, to ask what they stand on. What cannot be seen
// from user space (a lazily unmounted file system, a mount namespace without processes) is the exclusive open's to
// find: guard.cpp.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// One way in which something is in use, and what ends it: "X WHAT; REMEDY" is a sentence.
struct DeviceUse {
  std::string what;    ///< "is mounted at /srv"
  std::string remedy;  ///< "unmount it first"
  bool passing = false;  ///< a program that may be about to close it, as udev's are: worth a second look
};

/// Where the kernel's files are; tests put files of their own there for what no test machine has (md, LVM, …).
struct SystemPlaces {
  std::filesystem::path proc = "/proc";
  std::filesystem::path sys = "/sys";
};

/// A device, its partitions, and the disk it is a partition of: who uses one of them uses it.
struct DeviceFamily {
  dev_t device = 0;
  std::map<dev_t, std::string> members;  ///< by number, the kernel's names
  std::vector<std::string> partitions;   ///< kernel names of its own partitions
  dev_t ignored_loop = 0;                ///< a loop device that may stand on it: the one that is asked about
};
[[nodiscard]] DeviceFamily family_of(dev_t device, const SystemPlaces& places = {});

/// /sys/dev/block/8:1, the kernel's folder of a device.
[[nodiscard]] std::filesystem::path sys_folder(dev_t device, const SystemPlaces& places = {});

/// Mounts in every namespace that a thread lives in, swap, mounted btrfs of several devices, md, LVM and other
/// devices stacked on it, loop devices over it, processes that have it open or mapped (this one aside), and, unless
/// root asks, those that do not let this process see it.
[[nodiscard]] std::vector<DeviceUse> find_device_uses(const DeviceFamily& family, const SystemPlaces& places = {});

/// A regular file, by identity: whatever name it is opened by.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  std::string path;          ///< for messages; as the kernel shows it
  dev_t ignored_loop = 0;    ///< as in DeviceFamily
};
/// Mounts of it, loop devices over it, swap, processes that have it open or mapped (this one aside) as far as they
/// can be seen: an ordinary user may ask about a file of their own.
[[nodiscard]] std::vector<DeviceUse> find_file_uses(const FileIdentity& file, const SystemPlaces& places = {});

/// What a loop device stands on, by the kernel's identity: its name may mean another file in this mount namespace.
struct LoopBacking {
  std::string path;
  dev_t device = 0;  ///< 0: a file
  FileIdentity file;
};
/// Nothing when it is no loop device, or stands on nothing.
[[nodiscard]] std::optional<LoopBacking> loop_backing(int loop_fd, dev_t loop, const SystemPlaces& places = {});

}  // namespace sbench
