#include "tests/fuzz/thin_image.h"

#include <cstring>
#include <set>

#include "drivers/base/units.h"
#include "drivers/block/memory_device.h"
#include "drivers/thin_pool/block_cache.h"
#include "drivers/thin_pool/pool.h"

namespace sbench::fuzz {

using namespace thin_pool;

namespace {

template <typename T>
T good(Result<T> result) {
  require(result.ok(), result.ok() ? "" : "the image cannot be made: " + result.error().what);
  return std::move(result).value();
}
void good(const Status& status) { require(status.ok(), status.ok() ? "" : "the image cannot be made: " + status.error().what); }

ThinImage make_image() {
  constexpr std::uint64_t kChunk = kChunkBytesMin;
  MemoryDevice device(24 * kMiB);
  FormatOptions format;
  format.metadata_bytes = 512 * kKiB;
  good(Pool::format(device, format));
  OpenOptions options;
  options.commit_interval_ms = 0;
  {
    const auto pool = good(Pool::open(device, options));
    const std::vector<std::byte> data(512, std::byte{7});
    good(pool->create_device(1, 300 * kChunk));
    for (std::uint64_t chunk = 0; chunk < 300; ++chunk) {
      good(pool->write(1, chunk * kChunk, data));
    }
    good(pool->create_snapshot(2, 1));
    for (std::uint64_t chunk = 0; chunk < 300; chunk += 40) {
      good(pool->write(2, chunk * kChunk, data));
    }
    good(pool->create_device(3, 8 * kChunk + 512));
    good(pool->write(3, 8 * kChunk, data));
    good(pool->write(3, 2 * kChunk, data));
    good(pool->create_snapshot(70'000, 3));
    good(pool->discard(1, 17 * kChunk, 3 * kChunk));
    good(pool->create_device(4, 4 * kChunk));
    good(pool->delete_device(4));
    good(pool->flush());
  }
  ThinImage image{device.bytes(), {0, 1}};
  const auto metadata = good(Metadata::open(device, kMiB));
  for (std::uint64_t block = kSuperblockSlots; block < metadata->superblock().metadata.size; ++block) {
    if (good(metadata->metadata_map().count(block)) > 0) {
      image.blocks.push_back(block);
    }
  }
  return image;
}

}  // namespace

const ThinImage& thin_image() {
  static const ThinImage image = make_image();
  return image;
}

void damage(PatchedDevice& device, Reader& input) {
  const auto& blocks = thin_image().blocks;
  std::set<std::uint64_t> changed;
  for (int changes = 0; changes < 32; ++changes) {
    const unsigned kind = input.byte();
    if (kind % 8 == 0) {
      break;
    }
    const std::uint64_t number = blocks[input.byte() % blocks.size()];
    const std::uint64_t at = input.number(2) % kBlockBytes;
    std::byte* const block = device.page(number);
    changed.insert(number);
    if (kind % 8 == 1) {  // a block in this one's place
      std::memcpy(block, device.page(blocks[at % blocks.size()]), kBlockBytes);
      std::memcpy(block + offsetof(BlockHeader, block), &number, number < kSuperblockSlots ? 0 : sizeof(number));
    } else if (kind % 8 == 2) {  // eight bytes from elsewhere
      const std::uint64_t from = input.number(2) % (kBlockBytes / 8) * 8;
      std::memmove(block + at / 8 * 8, device.page(blocks[input.byte() % blocks.size()]) + from, 8);
    } else if (kind % 8 == 3) {  // the number of a block in use
      std::memcpy(block + at / 8 * 8, &blocks[input.byte() % blocks.size()], 8);
    } else {
      const Bytes bytes = input.bytes(std::min<std::uint64_t>(1 + kind / 8 % 8, kBlockBytes - at));
      std::memcpy(block + at, bytes.data(), bytes.size());
    }
  }
  const bool believed = input.byte() != 0xff;
  for (const std::uint64_t number : changed) {
    const std::uint64_t checksum = block_checksum(device.page(number));
    std::memcpy(device.page(number), &checksum, believed ? sizeof(checksum) : 0);
  }
}

}  // namespace sbench::fuzz
