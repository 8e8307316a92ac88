#include "drivers/block/device_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/kcmp.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/// The folders of a process' threads: "17" for its first, "17/task/18" for others, each of which may have a mount
/// namespace or descriptors of its own, or have outlived the first.
std::vector<std::string> tasks_of(const std::string& pid, const SystemPlaces& places) {
  std::vector<std::string> tasks = {pid};
  for (const auto& id : names_in(places.proc / pid / "task")) {
    if (id != pid) {
      tasks.push_back(fmt::format("{}/task/{}", pid, id));
    }
  }
  return tasks;
}

std::string process_name(const std::string& pid, const SystemPlaces& places) {
  return fmt::format("process {} ({})", pid, read_trimmed(places.proc / pid / "comm", "unknown"));
}

/// Mount points that one process sees of what is wanted: a device of one of these numbers, or a source.
std::set<std::string> mounts_in(const fs::path& mountinfo, const Wanted& wanted,
                                const std::map<dev_t, std::string>& numbers) {
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
    if (numbers.contains(mnt_fs_get_devno(mounted)) || (source.mode != 0 && wanted(source))) {
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

void add_mounts(const Wanted& wanted, const std::map<dev_t, std::string>& numbers, const SystemPlaces& places,
                std::vector<DeviceUse>& uses) {
  // A process shows what it reaches from its root: those of one namespace and one root are looked at once.
  const auto view_of = [&](const std::string& task) {
    return std::pair(link_text(places.proc / task / "ns/mnt"), link_text(places.proc / task / "root"));
  };
  std::set<std::pair<std::string, std::string>> seen = {view_of("self")};
  std::set<std::string> known;
  for (const auto& target : mounts_in(places.proc / "self/mountinfo", wanted, numbers)) {
    known.insert(target);
    uses.push_back({target == "/" ? "holds the system this machine runs: it is mounted at /"
                                  : fmt::format("is mounted at {}", target),
                    target == "/" ? "name another device" : "unmount it first, or name another device"});
  }
  const auto look_as = [&](const std::string& task) {
    for (const auto& target : mounts_in(places.proc / task / "mountinfo", wanted, numbers)) {
      if (known.insert(target).second) {
        uses.push_back({fmt::format("is mounted at {} in the mount namespace of {}", target, process_name(task, places)),
                        fmt::format("unmount it there (nsenter -t {} -m umount {}), or name another device",
                                    fs::path(task).filename().string(), target)});
      }
    }
  };
  for (const auto& pid : processes(places)) {
    for (const auto& task : tasks_of(pid, places)) {
      if (seen.insert(view_of(task)).second) {
        look_as(task);
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

/// A name in /dev opened to be asked something; opening changes nothing.
Fd open_to_ask(const std::string& name, dev_t due) {
  Fd fd(::open(("/dev/" + name).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  const bool is_it = fd.valid() && ::fstat(fd.get(), &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == due;
  return is_it ? std::move(fd) : Fd();
}

/// Loop devices that stand on what is wanted, or on a deleted file that the kernel shows as `name`.
void add_loops(const Wanted& wanted, const std::string& name_of_file, dev_t ignored, const SystemPlaces& places,
               std::vector<DeviceUse>& uses) {
  for (const auto& name : names_in(places.sys / "block")) {
    const std::string backing = read_trimmed(places.sys / "block" / name / "loop/backing_file");
    const auto number = device_number(places.sys / "block" / name / "dev");
    if (backing.empty() || (ignored != 0 && number == ignored)) {
      continue;
    }
    // The name is one of the mount namespace in which the device was set up; what it means here may be another file.
    const Fd loop = number ? open_to_ask(name, *number) : Fd();
    const auto told = loop.valid() ? loop_backing(loop.get(), *number, places) : std::nullopt;
    const Identity found = identity_of(AT_FDCWD, backing);
    const bool is_it =
        told ? wanted({static_cast<mode_t>(told->device != 0 ? S_IFBLK : S_IFREG), told->file.device, told->file.inode,
                       told->device})
             : (found.mode != 0 ? wanted(found) : backing == name_of_file);
    if (is_it) {
      uses.push_back({fmt::format("is in use by the loop device /dev/{}", name),
                      fmt::format("unmount and detach that first (losetup -d /dev/{})", name)});
    }
  }
}

struct FolderCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

enum class Held { no, yes, unknown };

/// Whether one of the links in /proc/PID/fd or map_files leads to what is wanted.
Held leads_to(const fs::path& links, const Wanted& wanted) {
  const std::unique_ptr<DIR, FolderCloser> folder(::opendir(links.c_str()));
  Held held = folder == nullptr && (errno == EACCES || errno == EPERM) ? Held::unknown : Held::no;
  while (const dirent* entry = folder == nullptr ? nullptr : ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') {
      continue;
    }
    const Identity found = identity_of(::dirfd(folder.get()), entry->d_name);
    if (found.mode == 0 && (errno == EACCES || errno == EPERM)) {
      held = Held::unknown;
    } else if (found.mode != 0 && wanted(found)) {
      return Held::yes;
    }
  }
  return held;
}

/// Whether it is mapped into the memory of the process, its descriptor closed. `maps`: the content of that file.
bool has_mapped(const fs::path& process, const std::string& text, const Wanted& wanted) {
  std::istringstream maps(text);
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device, inode;
    words >> range >> rights >> offset >> device >> inode;
    const bool of_a_file = inode != "0" && (rights.ends_with('s') || line.find(" /dev/") != std::string::npos);
    if (of_a_file && wanted(identity_of(AT_FDCWD, process / "map_files" / range))) {
      return true;
    }
  }
  return false;
}

/// A thread of the kernel holds no files, and lets few look.
bool is_of_the_kernel(const fs::path& process) {
  constexpr unsigned kKernelThread = 0x00200000;  // PF_KTHREAD
  const std::string stat = read_trimmed(process / "stat");
  std::istringstream words(stat.substr(std::min(stat.rfind(')'), stat.size() - 1) + 1));
  std::string state;
  long long parent = 0, group = 0, session = 0, terminal = 0, foreground = 0;
  unsigned flags = 0;
  words >> state >> parent >> group >> session >> terminal >> foreground >> flags;
  return words && (flags & kKernelThread) != 0;
}

bool share_descriptors(const std::string& one, const std::string& other) {
  const auto number = [](const std::string& task) { return std::stol(fs::path(task).filename()); };
  return ::syscall(SYS_kcmp, number(one), number(other), KCMP_FILES, 0, 0) == 0;
}

/// All threads of a process: those that share descriptors are looked at once.
Held is_held_by(const std::string& pid, const Wanted& wanted, const SystemPlaces& places) {
  Held held = Held::no;
  std::string maps;  // one for all threads
  std::vector<std::string> seen;
  for (const auto& task : tasks_of(pid, places)) {
    if (std::any_of(seen.begin(), seen.end(), [&](const auto& other) { return share_descriptors(task, other); })) {
      continue;
    }
    seen.push_back(task);
    const Held here = leads_to(places.proc / task / "fd", wanted);
    if (here == Held::yes) {
      return here;
    }
    if (maps.empty() && !(maps = read_trimmed(places.proc / task / "maps")).empty() &&
        has_mapped(places.proc / task, maps, wanted)) {
      return Held::yes;
    }
    held = here == Held::unknown && !is_of_the_kernel(places.proc / task) ? Held::unknown : held;
  }
  return held;
}

/// `all_must_be_seen`: a process that does not let this one look at its descriptors counts as one that has it open.
void add_open_files(const Wanted& wanted, bool all_must_be_seen, const SystemPlaces& places,
                    std::vector<DeviceUse>& uses) {
  const std::string self = std::to_string(::getpid());
  std::string unseen;
  for (const auto& pid : processes(places)) {
    const Held held = pid == self ? Held::no : is_held_by(pid, wanted, places);
    if (held == Held::yes) {
      uses.push_back({fmt::format("is held open by {}", process_name(pid, places)),
                      "stop that first, or name another device", true});
    }
    unseen = held == Held::unknown && unseen.empty() ? pid : unseen;
  }
  if (all_must_be_seen && !unseen.empty()) {
    uses.push_back({fmt::format("may be held open by {}, whose open files nobody may see here",
                                process_name(unseen, places)),
                    "run this as root", true});
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

std::optional<LoopBacking> loop_backing(int loop_fd, dev_t loop, const SystemPlaces& places) {
  loop_info64 info{};
  const std::string path = read_trimmed(sys_folder(loop, places) / "loop/backing_file");
  if (path.empty() || ::ioctl(loop_fd, LOOP_GET_STATUS64, &info) != 0) {
    return std::nullopt;
  }
  const bool is_device = fs::is_directory(sys_folder(info.lo_rdevice, places));
  return LoopBacking{path, is_device ? info.lo_rdevice : 0, {info.lo_device, info.lo_inode, path, loop}};
}

std::vector<DeviceUse> find_device_uses(const DeviceFamily& family, const SystemPlaces& places) {
  std::vector<DeviceUse> uses;
  add_mounts(any_of(family), family.members, places, uses);
  add_swap(any_of(family), places, uses);
  add_btrfs(family, places, uses);
  add_holders(family, places, uses);
  add_loops(any_of(family), {}, family.ignored_loop, places, uses);
  add_open_files(any_of(family), ::geteuid() != 0, places, uses);
  return uses;
}

std::vector<DeviceUse> find_file_uses(const FileIdentity& file, const SystemPlaces& places) {
  std::vector<DeviceUse> uses;
  add_mounts(same_file(file), {}, places, uses);
  add_loops(same_file(file), file.path, file.ignored_loop, places, uses);
  add_swap(same_file(file), places, uses);
  add_open_files(same_file(file), false, places, uses);
  return uses;
}

}  // namespace sbench
