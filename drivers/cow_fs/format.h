// format.h: the bytes of a cow_fs pool on its device. FORMAT.md says what they mean.
//
// All numbers are little-endian. Space is given out in sectors of 4096 bytes;
// addresses are byte offsets on the device.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "drivers/base/result.h"

namespace sbench::cow_fs {

static_assert(std::endian::native == std::endian::little, "the pool's numbers are little-endian");

inline constexpr std::uint64_t kSector = 4096;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint64_t kUberblocks = 31;                          ///< in a label's ring
inline constexpr std::uint64_t kLabelBytes = (kUberblocks + 1) * kSector;  ///< header and ring
inline constexpr std::uint32_t kRecordMin = 4096;
inline constexpr std::uint32_t kRecordMax = 1 << 20;
inline constexpr std::uint32_t kIndirectBytes = 16 * 1024;
inline constexpr std::uint32_t kDnodeBytes = 512;
inline constexpr unsigned kLevelsMax = 7;

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Four running sums (a, b, c, d) over 32-bit words.
using Checksum = std::array<std::uint64_t, 4>;
/// `data` has a multiple of 4 bytes. Source: Fletcher 1982, with four 64-bit accumulators as ZFS uses them.
[[nodiscard]] Checksum fletcher4(std::span<const std::byte> data);

enum class Compression : std::uint8_t { off = 0, lz4 = 1 };

/// What a block holds; names it in findings.
enum class BlockKind : std::uint8_t { none = 0, data, directory, attributes, dnodes, indirect, object_set, dead_list, space };
[[nodiscard]] const char* to_string(BlockKind kind);

/// Names a block and proves its content. Address 0: a hole, which reads as zeros.
struct BlockPointer {
  std::uint64_t address = 0;
  std::uint32_t logical_bytes = 0;
  std::uint32_t physical_bytes = 0;  ///< on the device, a multiple of kSector; less than logical: a tail of zeros, or compressed
  std::uint64_t birth = 0;           ///< transaction group that wrote it
  Compression compression = Compression::off;
  BlockKind kind = BlockKind::none;
  std::uint8_t level = 0;
  std::uint8_t unused[5] = {};
  Checksum checksum{};  ///< of the physical bytes

  [[nodiscard]] bool is_hole() const { return address == 0; }
};
static_assert(sizeof(BlockPointer) == 64);
inline constexpr std::uint64_t kFanOut = kIndirectBytes / sizeof(BlockPointer);

enum class ObjectType : std::uint8_t {
  free = 0,
  node,           ///< a file, directory, symlink, …: Attributes in the bonus
  attribute_set,  ///< extended attributes too large for the dnode
  dataset,        ///< meta object set: DatasetRecord in the bonus
  dead_list,      ///< meta object set: DeadBuckets
  block_list,     ///< meta object set: BlockPointers of a bucket
  dnodes,         ///< the object that holds an object set's dnodes
};

inline constexpr std::size_t kBonusBytes = kDnodeBytes - 96;

/// An object: a sequence of blocks of equal size below one block pointer.
struct Dnode {
  ObjectType type = ObjectType::free;
  std::uint8_t levels = 1;  ///< 1: `root` names the only data block
  std::uint8_t unused[2] = {};
  std::uint32_t block_bytes = 0;
  std::uint64_t size = 0;        ///< bytes of content
  std::uint64_t used_bytes = 0;  ///< on the device
  std::uint64_t reserved = 0;
  BlockPointer root;
  std::array<std::byte, kBonusBytes> bonus{};
};
static_assert(sizeof(Dnode) == kDnodeBytes);
inline constexpr std::uint32_t kDnodeBlockBytes = 16 * 1024;
inline constexpr std::uint64_t kDnodesPerBlock = kDnodeBlockBytes / kDnodeBytes;

struct Time {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  std::uint32_t unused = 0;
};

enum class InlineKind : std::uint16_t { none = 0, symlink, attributes };
inline constexpr std::size_t kInlineBytes = kBonusBytes - 128;

/// A file-system object, in its dnode's bonus.
struct Attributes {
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t links = 0;
  std::uint64_t device = 0;  ///< of device nodes
  Time accessed, modified, changed, born;
  std::uint64_t parent = 0;         ///< of a directory
  std::uint64_t entries = 0;        ///< of a directory
  std::uint64_t salt = 0;           ///< of a directory's hashes
  std::uint64_t attribute_set = 0;  ///< object with the extended attributes, 0: inline or none
  std::uint32_t depth = 0;          ///< of a directory's hash tree: no leaf is deeper
  std::uint16_t inline_bytes = 0;
  InlineKind inline_kind = InlineKind::none;
  std::array<std::byte, kInlineBytes> inline_data{};
};
static_assert(sizeof(Attributes) == kBonusBytes);

inline constexpr std::uint64_t kRootObject = 1;
inline constexpr std::uint64_t kOrphansObject = 2;  ///< a directory of files without names that somebody had open
inline constexpr std::uint64_t kFirstObject = 3;

/// The block a dataset's pointer names: where its dnodes are.
struct ObjectSetBlock {
  std::uint64_t magic = 0;
  std::uint64_t next_object = 0;  ///< numbers are never used twice
  std::uint64_t objects = 0;      ///< in use
  std::uint64_t reserved = 0;
  Dnode dnodes;
};
inline constexpr std::uint64_t kObjectSetMagic = 0x7465736a626f7763;  // "cwobjset"

inline constexpr std::size_t kNameMax = 200;

/// A dataset (writable) or a snapshot, in the bonus of its object in the meta object set.
struct DatasetRecord {
  BlockPointer objects;             ///< its ObjectSetBlock
  std::uint64_t previous = 0;       ///< the snapshot before it, or the one it was cloned from; 0: none
  std::uint64_t previous_birth = 0; ///< the last group of that snapshot: later blocks are its own
  std::uint64_t created = 0;        ///< for a snapshot, the last group in it
  std::uint64_t own_bytes = 0;      ///< of blocks born after `previous`
  std::uint64_t referenced_bytes = 0;
  std::uint64_t quota_bytes = 0;    ///< limit of own_bytes; 0: none
  std::uint64_t dead_list = 0;      ///< object with its DeadBuckets
  std::uint64_t origin = 0;         ///< the snapshot a dataset was cloned from
  std::uint32_t record_bytes = 128 * 1024;
  Compression compression = Compression::off;
  std::uint8_t is_snapshot = 0;
  std::uint8_t deferred = 0;        ///< a snapshot to be destroyed with its last clone
  std::uint8_t name_bytes = 0;
  std::array<char, kNameMax> name{};
};
static_assert(sizeof(DatasetRecord) <= kBonusBytes);

/// Blocks that a dataset no longer has, but its previous snapshot does: those born in groups later than
/// `after` (and not later than the next bucket's).
struct DeadBucket {
  std::uint64_t after = 0;
  std::uint64_t list = 0;  ///< object of BlockPointers
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

inline constexpr std::uint64_t kPointersPerPage = kSector / sizeof(BlockPointer);
inline constexpr std::uint64_t kTablePagesMax = 56;

/// First sector of both labels, written once.
struct LabelHeader {
  char magic[8] = {'s', 'b', 'c', 'o', 'w', 'f', 's', '1'};
  std::uint32_t version = kVersion;
  std::uint32_t unused = 0;
  std::uint64_t guid = 0;
  std::uint64_t device_bytes = 0;  ///< a multiple of kSector: where the second label ends
  std::uint64_t log_offset = 0;    ///< two halves of log_bytes
  std::uint64_t log_bytes = 0;
  std::uint64_t table_offset = 0;  ///< two sectors a page of the space table
  std::uint64_t table_pages = 0;
  std::uint64_t region_offset = 0;
  std::uint64_t region_bytes = 0;
  std::uint64_t regions = 0;
  std::uint64_t bitmap_bytes = 0;  ///< of a region; two copies stand at its start
};

struct Uberblock {
  std::uint64_t magic = 0;
  std::uint64_t guid = 0;
  std::uint64_t group = 0;  ///< transaction group that this one completes
  std::uint64_t reserved = 0;
  BlockPointer meta;        ///< ObjectSetBlock of the meta object set
  std::array<BlockPointer, kTablePagesMax> table;
};
inline constexpr std::uint64_t kUberMagic = 0x72656275776f6373;  // "scowuber"
static_assert(sizeof(Uberblock) + sizeof(Checksum) <= kSector);
static_assert(sizeof(LabelHeader) + sizeof(Checksum) <= kSector);

/// Labels, log blocks and uberblocks prove themselves: checksum of all that precedes it, at the end of the sector(s).
void seal(std::span<std::byte> block);
[[nodiscard]] bool is_sealed(std::span<const std::byte> block);

/// Where everything stands on a device of this size. ENOSPC when it is too small (4 MiB).
[[nodiscard]] Result<LabelHeader> divide_device(std::uint64_t device_bytes);
/// Whether blocks may stand at these `bytes`: in one region, behind its maps and before the second label.
[[nodiscard]] bool holds_blocks(const LabelHeader& header, std::uint64_t address, std::uint64_t bytes);
/// Whether a header read from a device describes one of this size.
[[nodiscard]] bool is_plausible(const LabelHeader& header, std::uint64_t device_bytes);

}  // namespace sbench::cow_fs
