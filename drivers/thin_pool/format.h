// format.h: the bytes of a thin pool on its device. FORMAT.md says what they mean.
//
// All numbers are little-endian. Metadata blocks have 4096 bytes and are named by
// their number from the start of the device; blocks 0 and 1 are the superblock slots.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "drivers/base/result.h"

namespace sbench::thin_pool {

static_assert(std::endian::native == std::endian::little, "the pool's numbers are little-endian");

inline constexpr std::uint64_t kBlockBytes = 4096;
inline constexpr std::uint64_t kSuperblockSlots = 2;
inline constexpr std::uint64_t kChunkBytesMin = std::uint64_t{64} << 10;
inline constexpr std::uint64_t kChunkBytesMax = std::uint64_t{1} << 30;
inline constexpr std::uint32_t kDeviceIds = 1u << 24;
inline constexpr std::uint32_t kTimes = 1u << 24;  ///< snapshots a pool can see in its life
inline constexpr std::uint64_t kDeviceBytesMax = std::uint64_t{1} << 60;

enum class BlockKind : std::uint32_t {
  mapping = 0x50414d54,  ///< "TMAP": node of a device's chunk -> block tree
  devices = 0x56454454,  ///< "TDEV": node of the device tree
  counts = 0x544e4354,   ///< "TCNT": page of reference counts
  index = 0x58444954,    ///< "TIDX": where a space map's pages are
};
[[nodiscard]] const char* to_string(BlockKind kind);

/// Starts every metadata block but the superblock.
struct BlockHeader {
  std::uint64_t checksum = 0;     ///< XXH3-64 of the rest of the block
  std::uint64_t block = 0;        ///< where it belongs: a misplaced write is noticed
  std::uint64_t transaction = 0;  ///< that wrote it
  BlockKind kind = BlockKind::mapping;
  std::uint16_t level = 0;  ///< of a tree node; leaves have 0
  std::uint16_t count = 0;  ///< entries of a tree node
};
static_assert(sizeof(BlockHeader) == 32);
inline constexpr std::uint64_t kBodyBytes = kBlockBytes - sizeof(BlockHeader);

inline constexpr std::uint64_t kCountsPerPage = kBodyBytes / sizeof(std::uint32_t);
inline constexpr std::uint64_t kLinksPerIndex = kBodyBytes / sizeof(std::uint64_t);
inline constexpr std::uint64_t kCountedMax = kCountsPerPage * kLinksPerIndex * kLinksPerIndex;  ///< blocks a space map can count

/// A space map as the superblock names it.
struct SpaceMapRoot {
  std::uint64_t root = 0;       ///< its topmost index block
  std::uint64_t size = 0;       ///< blocks it counts references of
  std::uint64_t allocated = 0;  ///< of them, those with references
};

struct Superblock {
  std::uint64_t checksum = 0;  ///< XXH3-64 of the rest of the 4096 bytes
  char magic[8] = {'s', 'b', 't', 'h', 'i', 'n', 'p', 'l'};
  std::uint32_t version = 1;
  std::uint32_t clean = 0;  ///< 1: closed in good order, both slots alike
  std::uint64_t transaction = 0;
  std::uint64_t device_bytes = 0;  ///< the device's size when the pool was made
  std::uint64_t chunk_bytes = 0;
  std::uint64_t data_offset = 0;  ///< where chunk 0 of the data begins
  std::uint64_t device_root = 0;  ///< root of the device tree
  std::uint32_t time = 0;         ///< grows with every snapshot
  std::uint32_t skip_zeroing = 0;
  SpaceMapRoot metadata;
  SpaceMapRoot data;
};
static_assert(sizeof(Superblock) == 120);

/// Value of the device tree, by device id.
struct DeviceRecord {
  std::uint64_t root = 0;  ///< of its mapping tree
  std::uint64_t size_bytes = 0;
  std::uint64_t mapped_chunks = 0;
  std::uint64_t own_chunks = 0;   ///< of them, allocated since the device was made
  std::uint64_t transaction = 0;  ///< that made the device
  std::uint32_t created_time = 0;
  std::uint32_t snapshotted_time = 0;  ///< chunks mapped before this time may be shared
};
static_assert(sizeof(DeviceRecord) == 48);

/// Whether a pool whose time is `pool_time` can have such a device.
[[nodiscard]] inline bool makes_sense(const DeviceRecord& record, std::uint32_t pool_time) {
  return record.size_bytes <= kDeviceBytesMax && record.mapped_chunks >= record.own_chunks &&
         record.created_time <= pool_time && record.snapshotted_time <= pool_time;
}

/// How many chunks such a device has, the last of them perhaps in part; of any size, also one that makes no sense.
[[nodiscard]] inline std::uint64_t chunks_of(const DeviceRecord& record, std::uint64_t chunk_bytes) {
  return record.size_bytes / chunk_bytes + (record.size_bytes % chunk_bytes != 0 ? 1 : 0);
}

/// Value of a mapping tree, by chunk: where the chunk's data is, and since when.
struct Mapping {
  std::uint64_t block = 0;  ///< 40 bits
  std::uint32_t time = 0;   ///< 24 bits

  /// Not allocated, but promised to read as zeros even when skip_zeroing allocates it.
  static constexpr std::uint64_t kZeroBlock = (std::uint64_t{1} << 40) - 1;
  [[nodiscard]] bool is_zero() const { return block == kZeroBlock; }

  [[nodiscard]] std::uint64_t pack() const { return block << 24 | time; }
  [[nodiscard]] static Mapping unpack(std::uint64_t packed) {
    return {packed >> 24, static_cast<std::uint32_t>(packed & (kTimes - 1))};
  }
};

/// Space a new pool divides, in blocks and chunks.
struct Geometry {
  std::uint64_t chunk_bytes = 0;
  std::uint64_t metadata_blocks = 0;  ///< superblocks included
  std::uint64_t data_offset = 0;
  std::uint64_t data_chunks = 0;
};
/// Divides a device: metadata gets 64 bytes a chunk or 1 % (what Docker's direct-lvm gives it), at least 2 MiB, at most
/// 16 GiB; `metadata_bytes`, when not 0, says it outright. EINVAL for a bad chunk size, ENOSPC for a small device.
[[nodiscard]] Result<Geometry> divide_device(std::uint64_t device_bytes, std::uint64_t chunk_bytes,
                                             std::uint64_t metadata_bytes);

}  // namespace sbench::thin_pool
