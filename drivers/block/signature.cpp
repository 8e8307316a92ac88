#include "drivers/block/signature.h"

#include <blkid/blkid.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>

#include "drivers/base/file.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSysSectorBytes = 512;  // the unit of /sys/class/block/*/{start,size}, whatever the device

struct ProbeCloser {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, ProbeCloser>;

/// A device or a partition of it.
struct Area {
  std::uint64_t start_bytes = 0;
  std::uint64_t size_bytes = 0;  ///< 0: to the end
  std::string suffix;            ///< " on sdb1"
};

std::string looked_up(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  return blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 && value != nullptr ? printable(value) : "";
}

/// The number of devices that the btrfs in this area spans (its superblock's num_devices; 0 when there is none).
std::uint64_t btrfs_devices(int fd, std::uint64_t start_bytes) {
  constexpr std::uint64_t kSuperblock = 0x10000;
  constexpr std::size_t kMagicAt = 0x40;
  constexpr std::size_t kCountAt = 0x88;
  std::array<char, 0x90> head{};
  if (::pread(fd, head.data(), head.size(), static_cast<off_t>(start_bytes + kSuperblock)) !=
          static_cast<ssize_t>(head.size()) ||
      std::memcmp(head.data() + kMagicAt, "_BHRfS_M", 8) != 0) {
    return 0;
  }
  std::uint64_t count = 0;
  std::memcpy(&count, head.data() + kCountAt, sizeof(count));
  return count;
}

struct Found {
  std::string type;
  std::string usage;
  std::string label;
  std::string id;
};

void add_membership(const Found& found, const Area& area, std::uint64_t devices, const SystemPlaces& places,
                    DeviceContent& content) {
  constexpr const char* kRemedy =
      "take it out with the tool that made it, or, if nobody needs that set any more, clear it (wipefs -a); or name "
      "another device";
  const bool ours = found.type == "zfs_member" && found.label == "sbench";  // what our own pools leave
  if (found.type == "btrfs" && fs::exists(places.sys / "fs/btrfs" / found.id)) {
    content.memberships.push_back({fmt::format("belongs to the mounted btrfs {}{}", found.id, area.suffix),
                                   "unmount that first, or name another device"});
  } else if (devices > 1) {
    content.memberships.push_back(
        {fmt::format("is one of the {} devices of the btrfs {}{}", devices, found.id, area.suffix), kRemedy});
  } else if (found.usage == "raid" || found.type == "bcache" || (found.type == "zfs_member" && !ours)) {
    content.memberships.push_back(
        {fmt::format("is a member of a set: {}{}{}", found.type,
                     found.label.empty() ? "" : fmt::format(" of '{}'", found.label), area.suffix),
         kRemedy});
  }
}

Status read_area(int fd, const std::string& path, const Area& area, const SystemPlaces& places,
                 DeviceContent& content) {
  const Probe probe(blkid_new_probe());
  if (probe == nullptr || blkid_probe_set_device(probe.get(), fd, static_cast<blkid_loff_t>(area.start_bytes),
                                                 static_cast<blkid_loff_t>(area.size_bytes)) != 0) {
    return errno_error("cannot look for signatures on {}", path);
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(),
                                    BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID);
  blkid_probe_enable_partitions(probe.get(), 1);
  // do_probe, not do_safeprobe: each of several signatures counts.
  int state = 0;
  while ((state = blkid_do_probe(probe.get())) == 0) {
    const Found found = {looked_up(probe.get(), "TYPE"), looked_up(probe.get(), "USAGE"),
                         looked_up(probe.get(), "LABEL"), looked_up(probe.get(), "UUID")};
    const std::string table = looked_up(probe.get(), "PTTYPE");
    if (!found.type.empty()) {
      content.signatures.push_back(
          (found.label.empty() ? found.type : fmt::format("{} labelled '{}'", found.type, found.label)) + area.suffix);
      add_membership(found, area, found.type == "btrfs" ? btrfs_devices(fd, area.start_bytes) : 0, places, content);
    } else if (!table.empty()) {
      content.signatures.push_back(fmt::format("a {} partition table{}", table, area.suffix));
    }
  }
  return state < 0 ? Status(plain_error(EIO, "{} cannot be read, so that nobody knows what is on it{}", path, area.suffix))
                   : Status();
}

}  // namespace

Result<DeviceContent> read_content(int fd, const std::string& path, const DeviceFamily& family,
                                   const SystemPlaces& places) {
  DeviceContent content;
  SBENCH_TRY(read_area(fd, path, {}, places, content));
  for (const auto& name : family.partitions) {
    const fs::path folder = sys_folder(family.device, places) / name;
    const auto sectors = [&](const char* file) {
      return std::strtoull(read_trimmed(folder / file).c_str(), nullptr, 10) * kSysSectorBytes;
    };
    const Area area = {sectors("start"), sectors("size"), fmt::format(" on {}", name)};
    if (area.size_bytes > 0) {
      SBENCH_TRY(read_area(fd, path, area, places, content));
    }
  }
  return content;
}

}  // namespace sbench
