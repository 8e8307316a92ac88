#include "drivers/devicemapper/pool_place.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/devicemapper/dm_device.h"
#include "drivers/devicemapper/thin_devices.h"

namespace sbench::devicemapper {

namespace {

constexpr std::uint64_t kMetadataBytesMin = 4 * kMiB;
constexpr std::uint64_t kMetadataBytesMax = 16 * kGiB;  // dm-thin's own limit
constexpr std::uint64_t kMetadataBytesPerChunk = 48;
constexpr std::uint64_t kDataBytesMin = 128 * kMiB;
constexpr unsigned kFileShare_percent = 90;  // of the file system that holds a loop-lvm pool's files
constexpr std::size_t kSuperblockBytes = 4096;

std::uint64_t metadata_bytes(std::uint64_t total_bytes, std::uint64_t chunk_bytes) {
  const std::uint64_t wanted = std::max(total_bytes / chunk_bytes * kMetadataBytesPerChunk, total_bytes / 100);
  return (std::clamp(wanted, kMetadataBytesMin, kMetadataBytesMax) + kMiB - 1) / kMiB * kMiB;
}

struct Sizes {
  std::uint64_t metadata_bytes = 0;
  std::uint64_t data_bytes = 0;
};

Result<Sizes> plan_sizes(const Device& device, const Options& options) {
  SBENCH_TRY_SET(const std::uint64_t chunk_bytes, parse_chunk_bytes(options));
  Sizes sizes;
  sizes.metadata_bytes = metadata_bytes(device.size_bytes(), chunk_bytes);
  const std::uint64_t least = sizes.metadata_bytes + std::max(kDataBytesMin, chunk_bytes);
  if (device.size_bytes() < least) {
    return plain_error(ENOSPC, "{} is too small for a thin pool: it has {}, at least {} are needed", device.path(),
                       human_size(static_cast<double>(device.size_bytes())), format_size(least));
  }
  sizes.data_bytes = (device.size_bytes() - sizes.metadata_bytes) / chunk_bytes * chunk_bytes;
  return sizes;
}

/// Read and written past the page cache, which does not see what the kernel's pool does below it.
struct Superblock {
  alignas(kSuperblockBytes) unsigned char bytes[kSuperblockBytes] = {};
};

/// A cleared superblock makes the kernel start a new pool.
Status clear_superblock(const std::filesystem::path& path) {
  const Superblock empty;
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_WRONLY | O_DIRECT));
  if (::pwrite(fd.get(), empty.bytes, kSuperblockBytes, 0) != static_cast<ssize_t>(kSuperblockBytes) ||
      ::fsync(fd.get()) != 0) {
    return errno_error("cannot write to {}", path.string());
  }
  return {};
}

/// Whether the kernel has made a pool there: thin_disk_superblock.magic.
Status require_superblock(const std::filesystem::path& path) {
  constexpr std::size_t kMagicAt = 32;
  constexpr std::uint64_t kMagic = 27022010;
  Superblock found;
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY | O_DIRECT));
  if (::pread(fd.get(), found.bytes, kSuperblockBytes, 0) != static_cast<ssize_t>(kSuperblockBytes)) {
    return errno_error("cannot read {}", path.string());
  }
  std::uint64_t magic = 0;
  std::memcpy(&magic, found.bytes + kMagicAt, sizeof magic);
  if (le64toh(magic) != kMagic) {
    return plain_error(EINVAL, "{} holds no thin pool: it was not formatted for this driver and pool shape", path.string());
  }
  return {};
}

Result<std::uint64_t> file_bytes(const Options& options, const char* option, std::uint64_t automatic) {
  const auto& text = options.at(option);
  if (text == "auto") {
    return automatic;
  }
  try {
    return parse_size(text, option);
  } catch (const UsageError& error) {
    return plain_error(EINVAL, "{}", error.what());
  }
}

/// The sparse file, made when it is missing.
Status make_file(const std::filesystem::path& path, std::uint64_t size_bytes) {
  if (::access(path.c_str(), F_OK) == 0) {
    return {};
  }
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDWR | O_CREAT, 0600));
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make {}", path.string());
  }
  return {};
}

std::string start_time(const std::string& pid) {
  constexpr int kStartField = 22;  // proc(5); fields are counted after the name in parentheses, field 2
  const std::string text = read_trimmed("/proc/" + pid + "/stat");
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return "";
  }
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 2; i < kStartField && fields >> field; ++i) {
  }
  return field;
}

}  // namespace

Result<std::string> name_prefix(const Device& device) {
  struct stat status {};
  if (::stat(device.path().c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", device.path());
  }
  return fmt::format("{}{}.{}-", kNamePrefix, ::major(status.st_rdev), ::minor(status.st_rdev));
}

std::string make_uuid(const std::string& name) {
  const std::string pid = std::to_string(::getpid());
  return fmt::format("{}{}.{}-{}", kUuidPrefix, pid, start_time(pid), name);
}

bool maker_runs(const std::string& uuid) {
  const std::string text = uuid.substr(std::min(uuid.size(), std::string_view(kUuidPrefix).size()));
  const auto dot = text.find('.');
  const auto dash = text.find('-');
  if (dot == std::string::npos || dash == std::string::npos || dot > dash) {
    return true;  // not of ours: nobody's business
  }
  const std::string started = start_time(text.substr(0, dot));
  return !started.empty() && started == text.substr(dot + 1, dash - dot - 1);
}

Status PoolPlace::format(Device& device, const Options& options) {
  SBENCH_TRY_SET([[maybe_unused]] const Sizes sizes, plan_sizes(device, options));
  device.release_exclusive();
  if (options.at("pool") == "loop-lvm") {
    return Backing::format(device, BackingType::ext4);
  }
  return clear_superblock(device.path());  // the metadata is the first piece; the caller lets the kernel fill it
}

Result<std::unique_ptr<PoolPlace>> PoolPlace::open(Device& device, const Options& options,
                                                   const std::filesystem::path& directory, bool fresh) {
  std::unique_ptr<PoolPlace> place(new PoolPlace());
  device.release_exclusive();
  if (!fresh && options.at("pool") != "loop-lvm") {
    SBENCH_TRY(require_superblock(device.path()));
  }
  if (options.at("pool") == "loop-lvm") {
    SBENCH_TRY(place->open_files(device, options, directory));
  } else {
    SBENCH_TRY(place->open_pieces(device, options));
  }
  return place;
}

Status PoolPlace::open_pieces(Device& device, const Options& options) {
  SBENCH_TRY_SET(const Sizes sizes, plan_sizes(device, options));
  SBENCH_TRY_SET(const std::string prefix, name_prefix(device));
  const auto make = [&](const char* part, std::uint64_t start, std::uint64_t size) -> Status {
    const std::string name = prefix + part;
    SBENCH_TRY(dm_create(name, make_uuid(name), {size, "linear", fmt::format("{} {}", device.path(), start / kSectorBytes)}));
    pieces_.push_back(name);
    return {};
  };
  SBENCH_TRY(make("metadata", 0, sizes.metadata_bytes));
  SBENCH_TRY(make("data", sizes.metadata_bytes, sizes.data_bytes));
  metadata_ = dm_path(pieces_[0]);
  data_ = dm_path(pieces_[1]);
  data_bytes_ = sizes.data_bytes;
  return {};
}

Status PoolPlace::open_files(Device& device, const Options& options, const std::filesystem::path& directory) {
  SBENCH_TRY_SET(auto backing, Backing::mount(device, BackingType::ext4, directory));
  backing_.emplace(std::move(backing));
  SBENCH_TRY_SET(const std::uint64_t chunk_bytes, parse_chunk_bytes(options));
  struct statvfs room {};
  if (::statvfs(directory.c_str(), &room) != 0) {
    return errno_error("cannot read the space on {}", directory.string());
  }
  const std::uint64_t free_bytes = room.f_bavail * room.f_frsize / 100 * kFileShare_percent;
  SBENCH_TRY_SET(const std::uint64_t data, file_bytes(options, "dm.loopdatasize", free_bytes));
  SBENCH_TRY_SET(const std::uint64_t metadata,
                 file_bytes(options, "dm.loopmetadatasize", metadata_bytes(data, chunk_bytes)));
  SBENCH_TRY(make_file(directory / "data", data / chunk_bytes * chunk_bytes));
  SBENCH_TRY(make_file(directory / "metadata", metadata / kMiB * kMiB));
  SBENCH_TRY_SET(data_file_, Device::attach_image(directory / "data"));
  SBENCH_TRY_SET(metadata_file_, Device::attach_image(directory / "metadata"));
  data_ = data_file_->path();
  metadata_ = metadata_file_->path();
  data_bytes_ = data_file_->size_bytes();
  return {};
}

void PoolPlace::keep() {
  kept_ = true;
  if (backing_) {
    // Without its name the file system lives as long as the loop devices, and those as long as the pool on them.
    ::umount2(backing_->root().c_str(), MNT_DETACH);
    backing_->keep();
  }
}

PoolPlace::~PoolPlace() {
  if (kept_) {
    return;
  }
  for (const auto& name : pieces_) {
    static_cast<void>(dm_remove(name, true));
  }
}

}  // namespace sbench::devicemapper
