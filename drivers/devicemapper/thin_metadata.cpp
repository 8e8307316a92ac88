#include "drivers/devicemapper/thin_metadata.h"

#include <endian.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"

namespace sbench::devicemapper {

namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::uint64_t kMagic = 27022010;
constexpr int kDepthMax = 16;  // 16 GiB of metadata give trees of 4 levels
constexpr std::uint64_t kTimeMask = (1u << 24) - 1;

struct Block {
  alignas(kBlockBytes) unsigned char bytes[kBlockBytes];

  std::uint32_t u32(std::size_t at) const {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes + at, sizeof value);
    return le32toh(value);
  }
  std::uint64_t u64(std::size_t at) const {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes + at, sizeof value);
    return le64toh(value);
  }
};

/// struct thin_disk_superblock.
namespace superblock {
constexpr std::size_t kMagicAt = 32;
constexpr std::size_t kMappingRootAt = 320;
constexpr std::size_t kDetailsRootAt = 328;
}  // namespace superblock

/// struct btree_node: header, max_entries keys, as many values.
class Node {
 public:
  explicit Node(const Block& block) : block_(block) {}

  bool is_leaf() const { return (block_.u32(4) & 2) != 0; }
  std::uint32_t entries() const { return block_.u32(16); }
  std::uint32_t value_bytes() const { return block_.u32(24); }
  bool is_sane(std::uint64_t number) const {
    const std::uint64_t room = std::uint64_t{entries_max()} * (8 + std::uint64_t{value_bytes()});
    return block_.u64(8) == number && entries() <= entries_max() && value_bytes() >= 8 && kHeaderBytes + room <= kBlockBytes;
  }
  std::uint64_t key(std::uint32_t index) const { return block_.u64(kHeaderBytes + 8 * std::size_t{index}); }
  std::size_t value_at(std::uint32_t index) const {
    return kHeaderBytes + 8 * std::size_t{entries_max()} + std::size_t{value_bytes()} * index;
  }

 private:
  static constexpr std::size_t kHeaderBytes = 32;
  std::uint32_t entries_max() const { return block_.u32(20); }
  const Block& block_;
};

class Reader {
 public:
  explicit Reader(Fd device) : device_(std::move(device)) {}

  Result<std::unique_ptr<Block>> read(std::uint64_t number) const {
    auto block = std::make_unique<Block>();
    const ssize_t count = ::pread(device_.get(), block->bytes, kBlockBytes, static_cast<off_t>(number * kBlockBytes));
    if (count != static_cast<ssize_t>(kBlockBytes)) {
      return count < 0 ? errno_error("cannot read the pool's metadata")
                       : plain_error(EUCLEAN, "the pool's metadata points beyond its end, to block {}", number);
    }
    return block;
  }

  /// Calls `visit` with each leaf entry of the tree: its block, key and where in the block its value is.
  using Visit = std::function<void(const Block&, std::uint64_t key, std::size_t value_at)>;
  Status walk(std::uint64_t root, const Visit& visit, int depth = 0) const {
    SBENCH_TRY_SET(const auto block, read(root));
    const Node node(*block);
    if (!node.is_sane(root) || depth > kDepthMax) {
      return plain_error(EUCLEAN, "block {} of the pool's metadata is not a node of a tree", root);
    }
    for (std::uint32_t i = 0; i < node.entries(); ++i) {
      if (node.is_leaf()) {
        visit(*block, node.key(i), node.value_at(i));
      } else {
        SBENCH_TRY(walk(block->u64(node.value_at(i)), visit, depth + 1));
      }
    }
    return {};
  }

 private:
  Fd device_;
};

}  // namespace

Result<std::uint64_t> count_own_chunks(const std::filesystem::path& metadata_device, std::uint64_t held_root,
                                       std::uint32_t id) {
  SBENCH_TRY_SET(Fd device, open_file(metadata_device, O_RDONLY | O_DIRECT));
  const Reader reader(std::move(device));
  SBENCH_TRY_SET(const auto super, reader.read(held_root));
  if (super->u64(superblock::kMagicAt) != kMagic) {
    return plain_error(EUCLEAN, "block {} of the pool's metadata is not a superblock", held_root);
  }
  std::optional<std::uint64_t> made_at;
  SBENCH_TRY(reader.walk(super->u64(superblock::kDetailsRootAt),
                         [&](const Block& block, std::uint64_t key, std::size_t at) {
                           if (key == id) {
                             made_at = block.u32(at + 16);  // disk_device_details.creation_time
                           }
                         }));
  std::optional<std::uint64_t> mappings;
  SBENCH_TRY(reader.walk(super->u64(superblock::kMappingRootAt),
                         [&](const Block& block, std::uint64_t key, std::size_t at) {
                           if (key == id) {
                             mappings = block.u64(at);
                           }
                         }));
  if (!made_at || !mappings) {
    return plain_error(ENOENT, "the pool has no thin device {}", id);
  }
  std::uint64_t own = 0;
  SBENCH_TRY(reader.walk(*mappings, [&](const Block& block, std::uint64_t, std::size_t at) {
    own += (block.u64(at) & kTimeMask) >= (*made_at & kTimeMask) ? 1 : 0;
  }));
  return own;
}

}  // namespace sbench::devicemapper
