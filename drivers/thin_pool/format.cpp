#include "drivers/thin_pool/format.h"

#include <algorithm>

#include "drivers/base/units.h"

namespace sbench::thin_pool {

const char* to_string(BlockKind kind) {
  switch (kind) {
    case BlockKind::mapping: return "mapping node";
    case BlockKind::devices: return "device tree node";
    case BlockKind::counts: return "page of reference counts";
    case BlockKind::index: return "space map index";
  }
  return "block of unknown kind";
}

Result<Geometry> divide_device(std::uint64_t device_bytes, std::uint64_t chunk_bytes, std::uint64_t metadata_bytes) {
  if (chunk_bytes < kChunkBytesMin || chunk_bytes > kChunkBytesMax || chunk_bytes % kChunkBytesMin != 0) {
    return plain_error(EINVAL, "chunks have 64K to 1G, in multiples of 64K, not {}", format_size(chunk_bytes));
  }
  if (metadata_bytes == 0) {
    metadata_bytes = std::clamp(std::max(device_bytes / chunk_bytes * 64, device_bytes / 100), 2 * kMiB, 16 * kGiB);
  }
  Geometry geometry;
  geometry.chunk_bytes = chunk_bytes;
  geometry.metadata_blocks = metadata_bytes / kBlockBytes;
  const std::uint64_t alignment = std::min(chunk_bytes, kMiB);
  geometry.data_offset = (metadata_bytes + alignment - 1) / alignment * alignment;
  const std::uint64_t chunks_min = 4;
  if (geometry.metadata_blocks < 32 || device_bytes < geometry.data_offset + chunks_min * chunk_bytes) {
    return plain_error(ENOSPC, "the device has {}, a pool with chunks of {} needs at least {}",
                       human_size(static_cast<double>(device_bytes)), format_size(chunk_bytes),
                       human_size(static_cast<double>(geometry.data_offset + chunks_min * chunk_bytes)));
  }
  geometry.data_chunks = std::min((device_bytes - geometry.data_offset) / chunk_bytes, kCountedMax);
  return geometry;
}

}  // namespace sbench::thin_pool
