#include "drivers/block/guard.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <fmt/ranges.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <set>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

struct ProbeCloser {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, ProbeCloser>;

std::string looked_up(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  return blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 && value != nullptr ? value : "";
}

/// What libblkid sees at the start of the device; empty for a blank one.
Result<std::string> find_signature(const std::string& path) {
  const Probe probe(blkid_new_probe_from_filename(path.c_str()));
  if (probe == nullptr) {
    return errno_error("cannot look for signatures on {}", path);
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
  blkid_probe_enable_partitions(probe.get(), 1);
  std::string signature;
  // do_probe, not do_safeprobe: one signature of several is enough to refuse.
  while (blkid_do_probe(probe.get()) == 0 && signature.empty()) {
    const std::string type = looked_up(probe.get(), "TYPE");
    const std::string table = looked_up(probe.get(), "PTTYPE");
    const std::string label = looked_up(probe.get(), "LABEL");
    if (!type.empty()) {
      signature = label.empty() ? type : fmt::format("{} labelled '{}'", type, label);
    } else if (!table.empty()) {
      signature = fmt::format("a {} partition table", table);
    }
  }
  return signature;
}

std::string sys_folder(dev_t device) {
  return fmt::format("/sys/dev/block/{}:{}", ::major(device), ::minor(device));
}

std::vector<std::string> folder_names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Device numbers ("8:1") of the device and its partitions.
std::set<dev_t> device_numbers(dev_t device, std::vector<std::string>& partitions) {
  std::set<dev_t> numbers = {device};
  for (const auto& name : folder_names(sys_folder(device))) {
    const fs::path child = fs::path(sys_folder(device)) / name;
    unsigned major_number = 0;
    unsigned minor_number = 0;
    if (fs::exists(child / "partition") &&
        std::sscanf(read_trimmed(child / "dev").c_str(), "%u:%u", &major_number, &minor_number) == 2) {
      partitions.push_back(name);
      numbers.insert(::makedev(major_number, minor_number));
    }
  }
  return numbers;
}

/// Mount points of these devices in one process' mount namespace.
void collect_mounts(const fs::path& mountinfo, const std::set<dev_t>& devices, std::set<std::string>& mounts) {
  struct TableCloser {
    void operator()(libmnt_table* table) const { mnt_unref_table(table); }
  };
  const std::unique_ptr<libmnt_table, TableCloser> table(mnt_new_table_from_file(mountinfo.c_str()));
  libmnt_iter* iterator = mnt_new_iter(MNT_ITER_FORWARD);
  libmnt_fs* mounted = nullptr;
  while (table != nullptr && mnt_table_next_fs(table.get(), iterator, &mounted) == 0) {
    struct stat source {};
    const char* name = mnt_fs_get_source(mounted);  // btrfs mounts have an anonymous device number
    const bool by_name = name != nullptr && name[0] == '/' && ::stat(name, &source) == 0 && S_ISBLK(source.st_mode) &&
                         devices.contains(source.st_rdev);
    if (by_name || devices.contains(mnt_fs_get_devno(mounted))) {
      mounts.insert(mnt_fs_get_target(mounted));
    }
  }
  mnt_free_iter(iterator);
}

std::vector<std::string> find_mounts(const std::set<dev_t>& devices) {
  std::set<std::string> mounts;
  std::set<std::string> namespaces_seen;
  for (const auto& name : folder_names("/proc")) {
    if (std::isdigit(static_cast<unsigned char>(name.front())) == 0) {
      continue;
    }
    std::error_code error;
    const auto ns = fs::read_symlink(fs::path("/proc") / name / "ns/mnt", error);
    if (!error && namespaces_seen.insert(ns.string()).second) {
      collect_mounts(fs::path("/proc") / name / "mountinfo", devices, mounts);
    }
  }
  return {mounts.begin(), mounts.end()};
}

bool is_swap(const std::set<dev_t>& devices) {
  const std::string swaps = read_trimmed("/proc/swaps");
  std::size_t line_start = swaps.find('\n');
  while (line_start != std::string::npos) {
    const std::string line = swaps.substr(line_start + 1, swaps.find('\n', line_start + 1) - line_start - 1);
    struct stat status {};
    const std::string name = line.substr(0, line.find_first_of(" \t"));
    if (!name.empty() && ::stat(name.c_str(), &status) == 0 && devices.contains(status.st_rdev)) {
      return true;
    }
    line_start = swaps.find('\n', line_start + 1);
  }
  return false;
}

std::vector<std::string> find_holders(dev_t device, const std::vector<std::string>& partitions) {
  std::vector<std::string> holders = folder_names(fs::path(sys_folder(device)) / "holders");
  for (const auto& partition : partitions) {
    for (const auto& holder : folder_names(fs::path(sys_folder(device)) / partition / "holders")) {
      holders.push_back(holder);
    }
  }
  return holders;
}

}  // namespace

Result<DeviceFacts> inspect_device(const fs::path& path) {
  DeviceFacts facts;
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  if (error) {
    return make_error(error.value(), "cannot find the device {}", path.string());
  }
  facts.path = resolved.string();
  struct stat status {};
  if (::stat(facts.path.c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", facts.path);
  }
  facts.is_block_device = S_ISBLK(status.st_mode);
  if (!facts.is_block_device) {
    return facts;
  }
  const std::set<dev_t> devices = device_numbers(status.st_rdev, facts.partitions);
  facts.mounted_at = find_mounts(devices);
  facts.used_as_swap = is_swap(devices);
  facts.holders = find_holders(status.st_rdev, facts.partitions);
  {
    SBENCH_TRY_SET(const Fd fd, open_file(facts.path, O_RDONLY));
    int read_only = 0;
    if (::ioctl(fd.get(), BLKGETSIZE64, &facts.size_bytes) != 0 || ::ioctl(fd.get(), BLKROGET, &read_only) != 0) {
      return errno_error("cannot inspect {}", facts.path);
    }
    facts.read_only = read_only != 0;
  }
  const Fd exclusive(::open(facts.path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  facts.busy = !exclusive.valid() && errno == EBUSY;
  SBENCH_TRY_SET(facts.signature, find_signature(facts.path));
  return facts;
}

void require_formattable(const DeviceFacts& facts, std::uint64_t size_bytes_min, bool wipe) {
  if (!facts.is_block_device) {
    throw UsageError("{} is not a block device; name one, or leave --device out to use an image file", facts.path);
  }
  if (!facts.mounted_at.empty()) {
    throw UsageError("{} is mounted at {}; unmount it first, or name another device", facts.path,
                     fmt::join(facts.mounted_at, ", "));
  }
  if (facts.used_as_swap) {
    throw UsageError("{} is in use as swap; run swapoff first, or name another device", facts.path);
  }
  if (!facts.holders.empty()) {
    throw UsageError("{} is held by {}; take that down first, or name another device", facts.path,
                     fmt::join(facts.holders, ", "));
  }
  if (facts.busy) {
    throw UsageError("{} is in use by another program; stop it, or name another device", facts.path);
  }
  if (facts.read_only) {
    throw UsageError("{} is read-only; name a writable device", facts.path);
  }
  if (facts.size_bytes < size_bytes_min) {
    throw UsageError("{} is too small: it has {}, at least {} are needed", facts.path,
                     human_size(static_cast<double>(facts.size_bytes)), human_size(static_cast<double>(size_bytes_min)));
  }
  if (!facts.signature.empty() && !wipe) {
    throw UsageError("{} carries {}; add --wipe to overwrite it, or name another device", facts.path, facts.signature);
  }
}

}  // namespace sbench
