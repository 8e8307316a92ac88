#include "drivers/cow_fs/format.h"

#include <algorithm>
#include <cstring>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kDeviceBytesMin = 4 << 20;
constexpr std::uint64_t kRegionBytesMin = 1 << 20;
constexpr std::uint64_t kRegionBytesUsual = std::uint64_t{128} << 20;  // one sector of bitmap
constexpr std::uint64_t kRegionsWanted = 16;
constexpr std::uint64_t kLogBytesMin = 128 << 10;
constexpr std::uint64_t kLogBytesMax = 8 << 20;
constexpr std::size_t kLanes = 4;
constexpr std::size_t kLaneBytes = kLanes * sizeof(std::uint32_t);

using Words __attribute__((vector_size(kLaneBytes))) = std::uint32_t;
using Sums __attribute__((vector_size(kLanes * sizeof(std::uint64_t)))) = std::uint64_t;

/// Every fourth word in a lane of its own, four sums for each; then the sums of all words in order from those. A word that
/// has `q` words of its lane from itself to the end counts q, q(q+1)/2 and q(q+1)(q+2)/6 times there, and in order the
/// same with n = 4q - lane; the coefficients are n's three polynomials written in q's.
__attribute__((always_inline)) inline Checksum add_lanes(std::span<const std::byte> data) {
  Sums a{}, b{}, c{}, d{};
  for (std::size_t at = 0; at < data.size(); at += kLaneBytes) {
    Words words;
    std::memcpy(&words, data.data() + at, sizeof(words));
    a += __builtin_convertvector(words, Sums);
    b += a;
    c += b;
    d += c;
  }
  Checksum sum{};
  for (std::uint64_t k = 0; k < kLanes; ++k) {
    sum[0] += a[k];
    sum[1] += 4 * b[k] - k * a[k];
    sum[2] += 16 * c[k] - (6 + 4 * k) * b[k] + (k == 3 ? 3 : k == 2 ? 1 : 0) * a[k];
    sum[3] += 64 * d[k] - (48 + 16 * k) * c[k] + (2 * k * k + 4 * k + 4) * b[k] - (k == 3 ? 1 : 0) * a[k];
  }
  return sum;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) Checksum add_lanes_avx2(std::span<const std::byte> data) { return add_lanes(data); }
#endif

Checksum sum_in_lanes(std::span<const std::byte> data) {
#ifdef __x86_64__
  static const bool wide = __builtin_cpu_supports("avx2") != 0;
  if (wide) {
    return add_lanes_avx2(data);
  }
#endif
  return add_lanes(data);
}

}  // namespace

Checksum fletcher4(std::span<const std::byte> data) {
  const std::size_t in_lanes = data.size() / kLaneBytes * kLaneBytes;
  auto [a, b, c, d] = sum_in_lanes(data.first(in_lanes));
  for (std::size_t at = in_lanes; at + sizeof(std::uint32_t) <= data.size(); at += sizeof(std::uint32_t)) {
    std::uint32_t word = 0;
    std::memcpy(&word, data.data() + at, sizeof(word));
    a += word;
    b += a;
    c += b;
    d += c;
  }
  return {a, b, c, d};
}

const char* to_string(BlockKind kind) {
  switch (kind) {
    case BlockKind::none: return "nothing";
    case BlockKind::data: return "data";
    case BlockKind::directory: return "directory";
    case BlockKind::attributes: return "attributes";
    case BlockKind::dnodes: return "dnodes";
    case BlockKind::indirect: return "block pointers";
    case BlockKind::object_set: return "object set";
    case BlockKind::dead_list: return "dead list";
    case BlockKind::space: return "space map";
  }
  return "unknown";
}

void seal(std::span<std::byte> block) {
  const Checksum sum = fletcher4(block.first(block.size() - sizeof(Checksum)));
  std::memcpy(block.data() + block.size() - sizeof(sum), &sum, sizeof(sum));
}

bool is_sealed(std::span<const std::byte> block) {
  const Checksum sum = fletcher4(block.first(block.size() - sizeof(Checksum)));
  return std::memcmp(block.data() + block.size() - sizeof(sum), &sum, sizeof(sum)) == 0;
}

Result<LabelHeader> divide_device(std::uint64_t device_bytes) {
  LabelHeader header;
  header.device_bytes = device_bytes / kSector * kSector;
  if (header.device_bytes < kDeviceBytesMin) {
    return plain_error(ENOSPC, "a cow_fs pool needs {} bytes, the device has {}", kDeviceBytesMin, device_bytes);
  }
  header.log_offset = kLabelBytes;
  header.log_bytes = std::clamp(std::bit_floor(device_bytes / 128), kLogBytesMin, kLogBytesMax);
  header.table_offset = header.log_offset + 2 * header.log_bytes;
  header.region_bytes = std::clamp(std::bit_floor(device_bytes / kRegionsWanted), kRegionBytesMin, kRegionBytesUsual);
  const std::uint64_t regions_max = kTablePagesMax * kPointersPerPage;
  while (device_bytes / header.region_bytes + 1 > regions_max) {
    header.region_bytes *= 2;
  }
  header.bitmap_bytes = round_up(header.region_bytes / kSector / 8, kSector);
  const std::uint64_t regions_about = device_bytes / header.region_bytes + 1;
  header.table_pages = (regions_about + kPointersPerPage - 1) / kPointersPerPage;
  header.region_offset = header.table_offset + 2 * header.table_pages * kSector;
  const std::uint64_t left = header.device_bytes - kLabelBytes - header.region_offset;
  // A last region too small for more than its bitmaps is left out.
  header.regions = left / header.region_bytes + (left % header.region_bytes >= 4 * header.bitmap_bytes ? 1 : 0);
  return header;
}

bool holds_blocks(const LabelHeader& header, std::uint64_t address, std::uint64_t bytes) {
  if (address < header.region_offset || (address - header.region_offset) / header.region_bytes >= header.regions) {
    return false;
  }
  const std::uint64_t at = (address - header.region_offset) % header.region_bytes;
  const std::uint64_t end = std::min(address - at + header.region_bytes, header.device_bytes - kLabelBytes);
  return at >= 2 * header.bitmap_bytes && address < end && bytes <= end - address;
}

bool is_plausible(const LabelHeader& header, std::uint64_t device_bytes) {
  const LabelHeader fresh;
  const auto expected = divide_device(header.device_bytes);
  return std::memcmp(header.magic, fresh.magic, sizeof(fresh.magic)) == 0 && header.version == kVersion &&
         header.device_bytes <= device_bytes && header.device_bytes % kSector == 0 && expected.ok() && header.log_offset == expected->log_offset &&
         header.log_bytes == expected->log_bytes && header.table_offset == expected->table_offset &&
         header.table_pages == expected->table_pages && header.region_offset == expected->region_offset &&
         header.region_bytes == expected->region_bytes && header.regions == expected->regions &&
         header.bitmap_bytes == expected->bitmap_bytes;
}

}  // namespace sbench::cow_fs
