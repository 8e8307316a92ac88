#include "drivers/btrfs/tree_search.h"

#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <vector>

namespace sbench::btrfs {

namespace {

constexpr std::size_t kBufferBytes = std::size_t{64} * 1024;
constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();

struct Range {
  std::uint64_t tree = 0;
  std::uint64_t object_min = 0;
  std::uint64_t object_max = kMax;
  std::uint64_t offset_min = 0;
  std::uint64_t offset_max = kMax;
  std::uint32_t type = 0;
  std::uint64_t transaction_min = 0;  ///< skips tree nodes not touched since
};

std::uint64_t load64(const char* item, std::size_t offset) {
  std::uint64_t value = 0;
  std::memcpy(&value, item + offset, sizeof value);
  return le64toh(value);
}

using Visit = std::function<Status(const btrfs_ioctl_search_header& header, const char* item)>;

/// Calls `visit` for every item of the range; only items of exactly `range.type`.
Status search(int fd, const Range& range, const Visit& visit) {
  std::vector<std::uint64_t> memory((sizeof(btrfs_ioctl_search_args_v2) + kBufferBytes) / sizeof(std::uint64_t) + 1);
  auto* args = reinterpret_cast<btrfs_ioctl_search_args_v2*>(memory.data());
  btrfs_ioctl_search_key key{};
  key.tree_id = range.tree;
  key.min_objectid = range.object_min;
  key.max_objectid = range.object_max;
  key.min_offset = range.offset_min;
  key.max_offset = range.offset_max;
  key.min_type = key.max_type = range.type;
  key.min_transid = range.transaction_min;
  key.max_transid = kMax;
  for (;;) {
    key.nr_items = std::numeric_limits<std::uint32_t>::max();
    args->key = key;
    args->buf_size = kBufferBytes;
    if (::ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, args) != 0) {
      return errno_error("cannot search btrfs tree {}", range.tree);
    }
    if (args->key.nr_items == 0) {
      return {};
    }
    const char* at = reinterpret_cast<const char*>(args->buf);
    btrfs_ioctl_search_header header{};
    for (std::uint32_t i = 0; i < args->key.nr_items; ++i) {
      std::memcpy(&header, at, sizeof header);
      at += sizeof header;
      if (header.type == range.type) {
        SBENCH_TRY(visit(header, at));
      }
      at += header.len;
    }
    // Continue behind the last item: keys are ordered by (object, type, offset).
    key.min_objectid = header.objectid;
    key.min_type = header.type;
    key.min_offset = header.offset + 1;
    if (key.min_offset == 0) {
      key.min_offset = range.offset_min;
      key.min_type = range.type;
      if (++key.min_objectid == 0) {
        return {};
      }
    }
  }
}

/// The transaction that allocated the extent. A file's own reference does not
/// tell: splitting a reference renews its generation, not the extent's.
Result<std::uint64_t> extent_generation(int fd, std::uint64_t address, std::uint64_t length) {
  Range range;
  range.tree = BTRFS_EXTENT_TREE_OBJECTID;
  range.object_min = range.object_max = address;
  range.offset_min = range.offset_max = length;
  range.type = BTRFS_EXTENT_ITEM_KEY;
  std::uint64_t generation = 0;
  SBENCH_TRY(search(fd, range, [&generation](const btrfs_ioctl_search_header& header, const char* item) -> Status {
    if (header.len >= sizeof(btrfs_extent_item)) {
      generation = load64(item, offsetof(btrfs_extent_item, generation));
    }
    return {};
  }));
  return generation;
}

}  // namespace

Result<std::uint64_t> sum_data_extents(int fd, std::uint64_t id, std::uint64_t after_transaction) {
  Range range;
  range.tree = id;
  range.type = BTRFS_EXTENT_DATA_KEY;
  range.transaction_min = after_transaction == 0 ? 0 : after_transaction + 1;
  std::uint64_t inline_bytes = 0;
  std::map<std::uint64_t, std::uint64_t> extents;  // address → length
  SBENCH_TRY(search(fd, range, [&](const btrfs_ioctl_search_header& header, const char* item) -> Status {
    if (load64(item, offsetof(btrfs_file_extent_item, generation)) <= after_transaction) {
      return {};
    }
    if (item[offsetof(btrfs_file_extent_item, type)] == BTRFS_FILE_EXTENT_INLINE) {
      inline_bytes += header.len;
    } else if (const auto address = load64(item, offsetof(btrfs_file_extent_item, disk_bytenr)); address != 0) {
      extents[address] = load64(item, offsetof(btrfs_file_extent_item, disk_num_bytes));
    }
    return {};
  }));
  std::uint64_t total = inline_bytes;
  for (const auto& [address, length] : extents) {
    if (after_transaction > 0) {
      SBENCH_TRY_SET(const std::uint64_t generation, extent_generation(fd, address, length));
      if (generation <= after_transaction) {
        continue;
      }
    }
    total += length;
  }
  return total;
}

Result<std::uint64_t> read_quota_exclusive(int fd, std::uint64_t id) {
  Range range;
  range.tree = BTRFS_QUOTA_TREE_OBJECTID;
  range.object_min = range.object_max = 0;
  range.offset_min = range.offset_max = id;
  range.type = BTRFS_QGROUP_INFO_KEY;
  bool found = false;
  std::uint64_t exclusive = 0;
  SBENCH_TRY(search(fd, range, [&](const btrfs_ioctl_search_header&, const char* item) -> Status {
    found = true;
    exclusive = load64(item, offsetof(btrfs_qgroup_info_item, excl));
    return {};
  }));
  if (!found) {
    return plain_error(ENOENT, "there is no quota group 0/{}", id);
  }
  return exclusive;
}

}  // namespace sbench::btrfs
