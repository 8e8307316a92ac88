#include "drivers/block/device_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "drivers/base/file.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<dev_t> device_number(const fs::path& file) {
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (std::sscanf(read_trimmed(file).c_str(), "%u:%u", &major_number, &minor_number) != 2) {
    return std::nullopt;
  }
  return ::makedev(major_number, minor_number);
}

struct Identity {
  mode_t mode = 0;  ///< 0: there is nothing of the name
  dev_t device = 0;
  ino_t inode = 0;
  dev_t special = 0;  ///< st_rdev
};

/// stat(2) that asks no server: a dead FUSE mount or NFS server cannot hang the guard.
Identity identity_of(int folder, const std::string& name) {
  struct statx found {};
  if (::statx(folder, name.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO, &found) != 0) {
    return {};
  }
  return {found.stx_mode, ::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino,
                  ::makedev(found.stx_rdev_major, found.stx_rdev_minor)};
}

/// What is looked for among open files, swap areas and loop devices' backing files.
using Wanted = std::function<bool(const Identity&)>;

Wanted any_of(const DeviceFamily& family) {
  return [&family](const Identity& each) { return S_ISBLK(each.mode) && family.members.contains(each.special); };
}

Wanted same_file(const FileIdentity& file) {
  return [&file](const Identity& each) {
    return S_ISREG(each.mode) && each.device == file.device && each.inode == file.inode;
  };
}

std::vector<std::string> processes(const SystemPlaces& places) {
  auto names = names_in(places.proc);
  std::erase_if(names, [](const auto& name) { return std::isdigit(static_cast<unsigned char>(name.front())) == 0; });
  return names;
}

std::string process_name(const std::string& pid, const SystemPlaces& places) {
  return fmt::format("process {} ({})", pid, read_trimmed(places.proc / pid / "comm", "unknown"));
}

/// Mount points of the devices that one process sees.
std::set<std::string> mounts_in(const fs::path& mountinfo, const DeviceFamily& family) {
  struct TableCloser {
    void operator()(libmnt_table* table) const { mnt_unref_table(table); }
  };
  std::set<std::string> mounts;
  const std::unique_ptr<libmnt_table, TableCloser> table(mnt_new_table_from_file(mountinfo.c_str()));
  libmnt_iter* iterator = mnt_new_iter(MNT_ITER_FORWARD);
  libmnt_fs* mounted = nullptr;
  while (table != nullptr && mnt_table_next_fs(table.get(), iterator, &mounted) == 0) {
    const char* name = mnt_fs_get_source(mounted);  // btrfs mounts have an anonymous device number
    const Identity source = name != nullptr && name[0] == '/' ? identity_of(AT_FDCWD, name) : Identity();
    if (family.members.contains(mnt_fs_get_devno(mounted)) || any_of(family)(source)) {
      mounts.insert(mnt_fs_get_target(mounted));
    }
  }
  mnt_free_iter(iterator);
  return mounts;
}

std::string link_text(const fs::path& link) {
  std::error_code error;
  const auto target = fs::read_symlink(link, error);
  return error ? std::string() : target.string();
}

void add_mounts(const DeviceFamily& family, const SystemPlaces& places, std::vector<DeviceUse>& uses) {
  // A process shows what it reaches from its root: those of one namespace and one root are looked at once.
  const auto view_of = [&](const std::string& pid) {
    return std::pair(link_text(places.proc / pid / "ns/mnt"), link_text(places.proc / pid / "root"));
  };
  std::set<std::pair<std::string, std::string>> seen = {view_of("self")};
  std::set<std::string> known;
  for (const auto& target : mounts_in(places.proc / "self/mountinfo", family)) {
    known.insert(target);
    uses.push_back({target == "/" ? "holds the system this machine runs: it is mounted at /"
                                  : fmt::format("is mounted at {}", target),
                    target == "/" ? "name another device" : "unmount it first, or name another device"});
  }
  for (const auto& pid : processes(places)) {
    if (!seen.insert(view_of(pid)).second) {
      continue;
    }
    for (const auto& target : mounts_in(places.proc / pid / "mountinfo", family)) {
      if (known.insert(target).second) {
        uses.push_back({fmt::format("is mounted at {} in the mount namespace of {}", target, process_name(pid, places)),
                        fmt::format("unmount it there (nsenter -t {} -m umount {}), or name another device", pid,
                                    target)});
      }
    }
  }
}

/// /proc/swaps writes blanks in names as \040.
std::string without_octal(const std::string& text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 3 < text.size()) {
      plain += static_cast<char>(std::stoi(text.substr(at + 1, 3), nullptr, 8));
      at += 3;
    } else {
      plain += text[at];
    }
  }
  return plain;
}

void add_swap(const Wanted& wanted, const SystemPlaces& places, std::vector<DeviceUse>& uses) {
  std::istringstream swaps(read_trimmed(places.proc / "swaps"));
  std::string line;
  std::getline(swaps, line);  // the heading
  while (std::getline(swaps, line)) {
    const std::string name = without_octal(line.substr(0, line.find_first_of(" \t")));
    if (wanted(identity_of(AT_FDCWD, name))) {
      uses.push_back({"is in use as swap", fmt::format("run swapoff {} first, or name another device", name)});
    }
  }
}

void add_btrfs(const DeviceFamily& family, const SystemPlaces& places, std::vector<DeviceUse>& uses) {
  for (const auto& id : names_in(places.sys / "fs/btrfs")) {
    for (const auto& name : names_in(places.sys / "fs/btrfs" / id / "devices")) {
      const bool is_ours = std::any_of(family.members.begin(), family.members.end(),
                                       [&](const auto& member) { return member.second == name; });
      if (is_ours) {
        uses.push_back({fmt::format("belongs to the mounted btrfs {}", id),
                        "unmount that, or take the device out of it (btrfs device remove); or name another device"});
      }
    }
  }
}

DeviceUse use_by_holder(const std::string& holder, const SystemPlaces& places) {
  const fs::path folder = places.sys / "block" / holder;
  const std::string name = read_trimmed(folder / "dm/name");
  const std::string id = read_trimmed(folder / "dm/uuid");
  if (fs::exists(folder / "md")) {
    return {fmt::format("belongs to the md array {}", holder),
            fmt::format("stop it first (mdadm --stop /dev/{}), or name another device", holder)};
  }
  if (id.starts_with("LVM-")) {
    return {fmt::format("carries the LVM volume {} ({})", name, holder),
            fmt::format("deactivate it first (lvchange -an /dev/mapper/{}), or name another device", name)};
  }
  if (!name.empty()) {
    return {fmt::format("is held by the device-mapper device {} ({})", name, holder),
            fmt::format("remove that first (dmsetup remove {}), or name another device", name)};
  }
  return {fmt::format("is held by {}", holder), "take that down first, or name another device"};
}

void add_holders(const DeviceFamily& family, const SystemPlaces& places, std::vector<DeviceUse>& uses) {
  for (const auto& [number, name] : family.members) {
    for (const auto& holder : names_in(sys_folder(number, places) / "holders")) {
      uses.push_back(use_by_holder(holder, places));
    }
  }
}

/// Loop devices that stand on what is wanted, or on a deleted file that the kernel shows as `name`.
void add_loops(const Wanted& wanted, const std::string& name_of_file, dev_t ignored, const SystemPlaces& places,
               std::vector<DeviceUse>& uses) {
  for (const auto& name : names_in(places.sys / "block")) {
    const std::string backing = read_trimmed(places.sys / "block" / name / "loop/backing_file");
    if (backing.empty() || (ignored != 0 && device_number(places.sys / "block" / name / "dev") == ignored)) {
      continue;
    }
    const Identity found = identity_of(AT_FDCWD, backing);
    if (found.mode != 0 ? wanted(found) : backing == name_of_file) {
      uses.push_back({fmt::format("is in use by the loop device /dev/{}", name),
                      fmt::format("unmount and detach that first (losetup -d /dev/{})", name)});
    }
  }
}

struct FolderCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

bool has_open(const fs::path& descriptors, const Wanted& wanted) {
  const std::unique_ptr<DIR, FolderCloser> folder(::opendir(descriptors.c_str()));
  while (const dirent* entry = folder == nullptr ? nullptr : ::readdir(folder.get())) {
    if (entry->d_name[0] != '.' && wanted(identity_of(::dirfd(folder.get()), entry->d_name))) {
      return true;
    }
  }
  return false;
}

void add_open_files(const Wanted& wanted, const SystemPlaces& places, std::vector<DeviceUse>& uses) {
  const std::string self = std::to_string(::getpid());
  for (const auto& pid : processes(places)) {
    if (pid != self && has_open(places.proc / pid / "fd", wanted)) {
      uses.push_back({fmt::format("is held open by {}", process_name(pid, places)),
                      "stop that first, or name another device", true});
    }
  }
}

}  // namespace

fs::path sys_folder(dev_t device, const SystemPlaces& places) {
  return places.sys / "dev/block" / fmt::format("{}:{}", ::major(device), ::minor(device));
}

DeviceFamily family_of(dev_t device, const SystemPlaces& places) {
  const auto name_of = [&](const fs::path& folder) {
    const std::string uevent = read_trimmed(folder / "uevent");
    const auto at = uevent.find("DEVNAME=");
    return at == std::string::npos ? std::string() : uevent.substr(at + 8, uevent.find('\n', at) - at - 8);
  };
  const fs::path folder = sys_folder(device, places);
  DeviceFamily family{device, {{device, name_of(folder)}}, {}, 0};
  for (const auto& name : names_in(folder)) {
    const auto number = fs::exists(folder / name / "partition") ? device_number(folder / name / "dev") : std::nullopt;
    if (number) {
      family.members[*number] = name;
      family.partitions.push_back(name);
    }
  }
  if (fs::exists(folder / "partition")) {
    if (const auto disk = device_number(folder / "../dev")) {
      family.members[*disk] = name_of(folder / "..");
    }
  }
  return family;
}

std::vector<DeviceUse> find_device_uses(const DeviceFamily& family, const SystemPlaces& places) {
  std::vector<DeviceUse> uses;
  add_mounts(family, places, uses);
  add_swap(any_of(family), places, uses);
  add_btrfs(family, places, uses);
  add_holders(family, places, uses);
  add_loops(any_of(family), {}, family.ignored_loop, places, uses);
  add_open_files(any_of(family), places, uses);
  return uses;
}

std::vector<DeviceUse> find_file_uses(const FileIdentity& file, const SystemPlaces& places) {
  std::vector<DeviceUse> uses;
  add_loops(same_file(file), file.path, file.ignored_loop, places, uses);
  add_swap(same_file(file), places, uses);
  add_open_files(same_file(file), places, uses);
  return uses;
}

std::string printable(std::string text) {
  for (char& each : text) {
    const auto byte = static_cast<unsigned char>(each);
    each = byte < 0x20 || byte == 0x7f ? '?' : each;
  }
  return text;
}

}  // namespace sbench
