#include "drivers/cow_fs/directory.h"

#include <algorithm>
#include <limits>

#include "drivers/base/hash.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint32_t kLeafMagic = 0x4641454c;  // "LEAF"
constexpr unsigned kPositionBits = 63;
constexpr unsigned kDepthMax = 24;
constexpr std::uint32_t kLeafBytesMin = 4096;
constexpr std::uint32_t kLeafBytesMax = 16 * 1024;
constexpr std::uint64_t kCollisions = 256;

struct LeafHeader {
  std::uint32_t magic = kLeafMagic;
  std::uint32_t used_bytes = sizeof(LeafHeader);
  std::uint32_t entries = 0;
  std::uint32_t unused = 0;
};

struct LeafEntry {
  std::uint64_t position = 0;
  std::uint64_t object = 0;
  std::uint8_t type = 0;
  std::uint8_t name_bytes = 0;
  std::uint16_t bytes = 0;  ///< with the name, to the next entry
  std::uint32_t unused = 0;
};

std::uint16_t entry_bytes(std::size_t name_bytes) {
  return static_cast<std::uint16_t>(round_up(sizeof(LeafEntry) + name_bytes, 8));
}

std::uint64_t prefix_of(std::uint64_t position, unsigned depth) { return position >> (kPositionBits - depth); }

std::uint64_t leaf_number(std::uint64_t position, unsigned depth) {
  return (std::uint64_t{1} << depth) - 1 + prefix_of(position, depth);
}

/// Position of the first name with this hash; those that collide follow.
std::uint64_t position_of(std::string_view name, std::uint64_t salt) {
  const std::uint64_t hash = xxh3(std::as_bytes(std::span(name.data(), name.size())), salt);
  return std::max<std::uint64_t>((hash >> 1) / kCollisions * kCollisions, kCollisions);
}

struct Place {
  unsigned depth = 0;
  bool exists = false;
};

/// The leaf that holds `position`, or where it would be made.
Result<Place> find_leaf(Object& directory, std::uint64_t position) {
  const unsigned depth = std::min(attributes_of(directory).depth, kDepthMax);
  for (unsigned d = depth + 1; d-- > 0;) {
    SBENCH_TRY_SET(const bool has, directory.has_block(leaf_number(position, d)));
    if (has) {
      return Place{d, true};
    }
  }
  return Place{depth, false};
}

/// The first position behind `position`, which is in no leaf, that is in one; 2^63 when there is none.
Result<std::uint64_t> next_leaf(Object& directory, std::uint64_t position) {
  const unsigned depth = std::min(attributes_of(directory).depth, kDepthMax);
  std::uint64_t next = std::uint64_t{1} << kPositionBits;
  for (unsigned d = 0; d <= depth; ++d) {
    SBENCH_TRY_SET(const auto leaf, directory.next_block(leaf_number(position, d)));
    const std::uint64_t first = (std::uint64_t{1} << d) - 1;
    if (leaf && *leaf <= 2 * first) {
      next = std::min(next, (*leaf - first) << (kPositionBits - d));
    }
  }
  return next;
}

/// Offset in the leaf of the entry that `matches`; 0 when there is none.
template <typename Matches>
Result<std::size_t> scan(std::span<const std::byte> leaf, Matches&& matches) {
  const auto header = leaf.size() < sizeof(LeafHeader) ? LeafHeader{0, 0, 0, 0} : load<LeafHeader>(leaf.data());
  if (header.magic != kLeafMagic || header.used_bytes > leaf.size()) {
    return plain_error(EUCLEAN, "a directory's leaf is damaged");
  }
  for (std::size_t at = sizeof(LeafHeader); at < header.used_bytes;) {
    if (header.used_bytes - at < sizeof(LeafEntry)) {
      return plain_error(EUCLEAN, "a directory's leaf is damaged");
    }
    const auto entry = load<LeafEntry>(leaf.data() + at);
    if (entry.bytes != entry_bytes(entry.name_bytes) || entry.bytes > header.used_bytes - at || entry.name_bytes == 0) {
      return plain_error(EUCLEAN, "a directory's leaf is damaged");
    }
    const std::string_view name(reinterpret_cast<const char*>(leaf.data() + at + sizeof(LeafEntry)), entry.name_bytes);
    if (matches(entry, name)) {
      return at;
    }
    at += entry.bytes;
  }
  return std::size_t{0};
}

struct Found {
  std::uint64_t leaf = 0;
  std::size_t at = 0;  ///< 0: not there
};

Result<Found> find(Object& directory, std::string_view name) {
  const std::uint64_t first = position_of(name, attributes_of(directory).salt);
  SBENCH_TRY_SET(const Place place, find_leaf(directory, first));
  if (!place.exists) {
    return Found();
  }
  const std::uint64_t number = leaf_number(first, place.depth);
  SBENCH_TRY_SET(const BytesRef leaf, directory.block(number));
  SBENCH_TRY_SET(const std::size_t at, scan(*leaf, [&](const LeafEntry& entry, std::string_view text) {
    return entry.position / kCollisions == first / kCollisions && text == name;
  }));
  return Found{number, at};
}

void append(std::span<std::byte> leaf, const LeafEntry& entry, std::string_view name) {
  auto header = load<LeafHeader>(leaf.data());
  std::byte* const at = leaf.data() + header.used_bytes;
  std::memset(at, 0, entry.bytes);
  store(at, entry);
  std::memcpy(at + sizeof(entry), name.data(), name.size());
  header.used_bytes += entry.bytes;
  ++header.entries;
  store(leaf.data(), header);
}

Result<std::span<std::byte>> make_leaf(Object& directory, std::uint64_t number) {
  SBENCH_TRY_SET(auto leaf, directory.modify_block(number));
  std::memset(leaf.data(), 0, leaf.size());
  store(leaf.data(), LeafHeader());
  return leaf;
}

/// Moves the leaf's entries into two of the next depth.
Status split(Object& directory, std::uint64_t position, unsigned depth) {
  if (depth == kDepthMax) {
    return plain_error(ENOSPC, "too many names of a directory have hashes that begin alike");
  }
  const std::uint64_t number = leaf_number(position, depth);
  SBENCH_TRY_SET(const BytesRef shared, directory.block(number));
  const Bytes& full = *shared;  // what others hold stays as it is
  SBENCH_TRY(directory.free_blocks(number, number + 1));
  Attributes attributes = attributes_of(directory);
  attributes.depth = std::max(attributes.depth, depth + 1);
  set_attributes_of(directory, attributes);
  const std::uint64_t first_child = leaf_number(prefix_of(position, depth) << (kPositionBits - depth), depth + 1);
  for (const std::uint64_t child : {first_child, first_child + 1}) {
    std::optional<std::span<std::byte>> leaf;  // made when it has a name
    Status failed;
    SBENCH_TRY(scan(full, [&](const LeafEntry& entry, std::string_view name) {
      if (leaf_number(entry.position, depth + 1) != child) {
        return false;
      }
      if (!leaf) {
        auto made = make_leaf(directory, child);
        if (!made.ok()) {
          failed = made.error();
          return true;
        }
        leaf = *made;
      }
      append(*leaf, entry, name);
      return false;
    }));
    SBENCH_TRY(failed);
  }
  return {};
}

}  // namespace

Attributes attributes_of(const Object& object) { return load<Attributes>(object.dnode().bonus.data()); }

void set_attributes_of(Object& object, const Attributes& attributes) { store(object.change().bonus.data(), attributes); }

Status read_leaf(std::span<const std::byte> leaf, const std::function<bool(const Name&)>& take) {
  SBENCH_TRY(scan(leaf, [&](const LeafEntry& entry, std::string_view name) {
    return !take({entry.position, entry.object, entry.type, name});
  }));
  return {};
}

Result<std::optional<Name>> find_name(Object& directory, std::string_view name) {
  SBENCH_TRY_SET(const Found found, find(directory, name));
  if (found.at == 0) {
    return std::optional<Name>();
  }
  SBENCH_TRY_SET(const BytesRef leaf, directory.block(found.leaf));
  const auto entry = load<LeafEntry>(leaf->data() + found.at);
  return std::optional<Name>({entry.position, entry.object, entry.type, {}});
}

Status add_name(Object& directory, std::string_view name, std::uint64_t object, std::uint8_t type) {
  std::uint64_t position = position_of(name, attributes_of(directory).salt);
  const std::uint16_t bytes = entry_bytes(name.size());
  if (directory.dnode().block_bytes == 0) {
    SBENCH_TRY(directory.set_block_bytes(kLeafBytesMin));
  }
  for (;;) {
    SBENCH_TRY_SET(const Place place, find_leaf(directory, position));
    const std::uint64_t number = leaf_number(position, place.depth);
    if (!place.exists) {
      SBENCH_TRY(make_leaf(directory, number));
    }
    SBENCH_TRY_SET(const auto leaf, directory.modify_block(number));
    const auto header = load<LeafHeader>(leaf.data());
    if (header.used_bytes + bytes <= leaf.size()) {
      std::array<bool, kCollisions> taken{};
      SBENCH_TRY(scan(leaf, [&](const LeafEntry& entry, std::string_view) {
        if (entry.position / kCollisions == position / kCollisions) {
          taken[entry.position % kCollisions] = true;
        }
        return false;
      }));
      const auto open = std::find(taken.begin(), taken.end(), false);
      if (open == taken.end()) {
        return plain_error(ENOSPC, "too many names of a directory have the same hash");
      }
      position += static_cast<std::uint64_t>(open - taken.begin());
      append(leaf, {position, object, type, static_cast<std::uint8_t>(name.size()), bytes, 0}, name);
      Attributes attributes = attributes_of(directory);
      ++attributes.entries;
      set_attributes_of(directory, attributes);
      return {};
    }
    if (place.depth == 0 && leaf.size() < kLeafBytesMax) {
      SBENCH_TRY(directory.set_block_bytes(static_cast<std::uint32_t>(leaf.size() * 2)));
    } else {
      SBENCH_TRY(split(directory, position, place.depth));
    }
  }
}

Status replace_name(Object& directory, std::string_view name, std::uint64_t object, std::uint8_t type) {
  SBENCH_TRY_SET(const Found found, find(directory, name));
  if (found.at == 0) {
    return plain_error(EUCLEAN, "a directory has lost the name '{}'", name);
  }
  SBENCH_TRY_SET(const auto leaf, directory.modify_block(found.leaf));
  auto entry = load<LeafEntry>(leaf.data() + found.at);
  entry.object = object;
  entry.type = type;
  store(leaf.data() + found.at, entry);
  return {};
}

Status remove_name(Object& directory, std::string_view name) {
  SBENCH_TRY_SET(const Found found, find(directory, name));
  if (found.at == 0) {
    return plain_error(EUCLEAN, "a directory has lost the name '{}'", name);
  }
  SBENCH_TRY_SET(const auto leaf, directory.modify_block(found.leaf));
  auto header = load<LeafHeader>(leaf.data());
  const std::uint16_t bytes = load<LeafEntry>(leaf.data() + found.at).bytes;
  std::memmove(leaf.data() + found.at, leaf.data() + found.at + bytes, header.used_bytes - found.at - bytes);
  header.used_bytes -= bytes;
  --header.entries;
  std::memset(leaf.data() + header.used_bytes, 0, bytes);
  store(leaf.data(), header);
  Attributes attributes = attributes_of(directory);
  --attributes.entries;
  if (attributes.entries == 0) {
    attributes.depth = 0;
    SBENCH_TRY(directory.free_blocks(0, std::numeric_limits<std::uint64_t>::max()));
    SBENCH_TRY(directory.set_block_bytes(kLeafBytesMin));
  } else if (header.entries == 0) {
    SBENCH_TRY(directory.free_blocks(found.leaf, found.leaf + 1));
  }
  set_attributes_of(directory, attributes);
  return {};
}

Status list_names(Object& directory, std::uint64_t position, const std::function<bool(const Name&)>& take) {
  if (directory.dnode().block_bytes == 0) {
    return {};
  }
  std::uint64_t left = directory.set().core().blocks.blocks_max();
  while (position < std::uint64_t{1} << kPositionBits) {
    SBENCH_TRY_SET(const Place place, find_leaf(directory, position));
    if (!place.exists) {
      SBENCH_TRY_SET(position, next_leaf(directory, position));
      continue;
    }
    if (left-- == 0) {
      return plain_error(EUCLEAN, "a directory has more leaves than the pool has blocks");
    }
    const std::uint64_t number = leaf_number(position, place.depth);
    SBENCH_TRY_SET(const BytesRef leaf, directory.block(number));
    std::vector<Name> names;
    bool astray = false;
    SBENCH_TRY(read_leaf(*leaf, [&](const Name& name) {
      astray = astray || leaf_number(name.position, place.depth) != number;
      if (name.position >= position) {
        names.push_back(name);
      }
      return !astray;
    }));
    if (astray) {
      return plain_error(EUCLEAN, "a directory's leaf holds a name that belongs elsewhere");
    }
    std::sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.position < b.position; });
    for (const Name& name : names) {
      if (!take(name)) {
        return {};
      }
    }
    position = (prefix_of(position, place.depth) + 1) << (kPositionBits - place.depth);
  }
  return {};
}

}  // namespace sbench::cow_fs
