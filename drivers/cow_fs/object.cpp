#include "drivers/cow_fs/object.h"

#include <algorithm>
#include <limits>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kReadAheadBytes = 1 << 20;

}  // namespace

std::uint64_t span_of(unsigned level) {
  std::uint64_t span = 1;
  for (unsigned i = 0; i < level; ++i) {
    span *= kFanOut;
  }
  return span;
}

bool is_plausible(const Dnode& dnode) {
  return dnode.levels >= 1 && dnode.levels <= kLevelsMax && dnode.block_bytes % kSector == 0 &&
         dnode.block_bytes <= kRecordMax && dnode.type <= ObjectType::dnodes &&
         (dnode.block_bytes > 0 || (dnode.root.is_hole() && dnode.levels == 1)) &&
         dnode.size <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

Dnode& Object::change() {
  mark_dirty();
  return dnode_;
}

void Object::mark_dirty() {
  if (!dirty_) {
    dirty_ = true;
    if (this != set_.dnodes_.get()) {
      set_.dirty_.insert(id_);
      ++set_.core_.dirty_objects;
    }
  }
}

BlockKind Object::kind(unsigned level) const {
  if (level > 0) {
    return BlockKind::indirect;
  }
  switch (dnode_.type) {
    case ObjectType::dnodes: return BlockKind::dnodes;
    case ObjectType::attribute_set: return BlockKind::attributes;
    case ObjectType::dead_list:
    case ObjectType::block_list: return BlockKind::dead_list;
    case ObjectType::node: {
      constexpr std::uint32_t kTypeMask = 0170000;
      constexpr std::uint32_t kDirectory = 0040000;
      return (load<Attributes>(dnode_.bonus.data()).mode & kTypeMask) == kDirectory ? BlockKind::directory : BlockKind::data;
    }
    default: return BlockKind::none;
  }
}

Error Object::locate(const Error& error, unsigned level, std::uint64_t block) const {
  return plain_error(error.code, "{}: object {} level {} block {}: {}", set_.label_, id_, level, block, error.what);
}

Result<BlockPointer> Object::pointer(unsigned level, std::uint64_t block) {
  if (level + 1U >= dnode_.levels) {
    return level + 1U == dnode_.levels && block == 0 ? dnode_.root : BlockPointer();
  }
  SBENCH_TRY_SET(const BytesRef parent, view(level + 1, block / kFanOut));
  return parent ? load<BlockPointer>(parent->data() + block % kFanOut * sizeof(BlockPointer)) : BlockPointer();
}

Result<BytesRef> Object::view(unsigned level, std::uint64_t block) {
  if (!dirty_blocks_.empty()) {
    const auto found = dirty_blocks_.find(key(level, block));
    if (found != dirty_blocks_.end()) {
      if (level == 0) {
        SBENCH_TRY(complete(block));
      }
      return BytesRef(found->second);
    }
  }
  return stored(level, block);
}

Result<BytesRef> Object::stored(unsigned level, std::uint64_t block) {
  SBENCH_TRY_SET(const BlockPointer at, pointer(level, block));
  if (at.is_hole()) {
    return BytesRef();
  }
  if (!belongs(at, level)) {
    return locate(plain_error(EUCLEAN, "{}: not the block that belongs there", describe(at)), level, block);
  }
  auto content = set_.core_.blocks.read(at);
  return content.ok() ? std::move(content) : locate(content.error(), level, block);
}

bool Object::belongs(const BlockPointer& pointer, unsigned level) const {
  return pointer.level == level && pointer.logical_bytes == (level == 0 ? dnode_.block_bytes : kIndirectBytes);
}

bool Object::is_at_hand(unsigned level, std::uint64_t block) {
  if (dirty_blocks_.contains(key(level, block))) {
    return true;
  }
  if (level + 1U < dnode_.levels && !is_at_hand(level + 1, block / kFanOut)) {
    return false;
  }
  const auto at = pointer(level, block);
  return !at.ok() || at->is_hole() || !belongs(*at, level) || set_.core_.blocks.is_cached(*at);
}

Result<bool> Object::has_block(std::uint64_t index) {
  if (dirty_blocks_.contains(key(0, index))) {
    return true;
  }
  SBENCH_TRY_SET(const BlockPointer at, pointer(0, index));
  return !at.is_hole();
}

Status Object::grow_levels(std::uint64_t block) {
  while (block >= span_of(dnode_.levels - 1U)) {
    if (dnode_.levels == kLevelsMax) {
      return plain_error(EFBIG, "{}: object {} has no block {}", set_.label_, id_, block);
    }
    auto top = std::make_shared<Bytes>(zeroed(kIndirectBytes));
    store(top->data(), dnode_.root);
    dirty_blocks_[key(dnode_.levels, 0)] = std::move(top);
    set_.core_.dirty_bytes += kIndirectBytes;
    dnode_.root = {};
    ++dnode_.levels;
    mark_dirty();
  }
  return {};
}

Result<Bytes*> Object::modify(unsigned level, std::uint64_t block, bool whole) {
  if (const auto found = dirty_blocks_.find(key(level, block)); found != dirty_blocks_.end()) {
    if (level == 0 && whole) {
      partial_.erase(block);
    } else if (level == 0) {
      SBENCH_TRY(complete(block));
    }
    return found->second.get();
  }
  const std::uint32_t bytes = level == 0 ? dnode_.block_bytes : kIndirectBytes;
  if (bytes == 0) {
    return locate(plain_error(EUCLEAN, "it has no size"), level, block);
  }
  if (level == 0) {
    SBENCH_TRY(grow_levels(block));
  }
  auto content = std::make_shared<Bytes>(bytes);
  if (!whole) {
    SBENCH_TRY_SET(const BytesRef old, view(level, block));
    old ? std::memcpy(content->data(), old->data(), bytes) : std::memset(content->data(), 0, bytes);
  }
  Bytes* const result = content.get();
  dirty_blocks_[key(level, block)] = std::move(content);
  set_.core_.dirty_bytes += bytes;
  mark_dirty();
  return result;
}

Result<std::span<std::byte>> Object::modify_block(std::uint64_t index) {
  SBENCH_TRY_SET(Bytes* const bytes, modify(0, index, false));
  return std::span<std::byte>(*bytes);
}

Status Object::set_pointer(unsigned level, std::uint64_t block, const BlockPointer& pointer) {
  if (level + 1U == dnode_.levels) {
    dnode_.root = pointer;
    mark_dirty();
    return {};
  }
  SBENCH_TRY_SET(Bytes* const parent, modify(level + 1, block / kFanOut, false));
  store(parent->data() + block % kFanOut * sizeof(BlockPointer), pointer);
  return {};
}

Status Object::set_block_bytes(std::uint32_t bytes) {
  if (bytes == dnode_.block_bytes) {
    return {};
  }
  if (dnode_.levels != 1) {
    return plain_error(EUCLEAN, "{}: object {} has more blocks than one of {} bytes can", set_.label_, id_, dnode_.block_bytes);
  }
  SBENCH_TRY_SET(const bool has, has_block(0));
  if (has) {
    SBENCH_TRY_SET(Bytes* const content, modify(0, 0, false));
    const std::size_t before = content->size();
    content->resize(bytes);
    if (bytes > before) {
      std::memset(content->data() + before, 0, bytes - before);
    }
    set_.core_.dirty_bytes = set_.core_.dirty_bytes - before + bytes;
  }
  dnode_.block_bytes = bytes;
  mark_dirty();
  return {};
}

Status Object::fit_block_bytes(std::uint64_t end, std::uint32_t record_bytes) {
  if (end <= dnode_.block_bytes || dnode_.levels > 1 || dnode_.block_bytes >= record_bytes) {
    return {};
  }
  // Doubled, so that a file written piece by piece is not copied at each; sync() fits it.
  const std::uint64_t wanted = std::max<std::uint64_t>(round_up(end, kSector), 2 * std::uint64_t{dnode_.block_bytes});
  return set_block_bytes(static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, record_bytes)));
}

void Object::read_ahead(std::uint64_t block) {
  const bool sequential = block == next_read_ && block > 0;
  next_read_ = block + 1;
  if (!sequential) {
    ahead_ = block + 1;
    return;
  }
  const std::uint64_t depth = std::max<std::uint64_t>(2, kReadAheadBytes / dnode_.block_bytes);
  if (block + depth / 2 < ahead_) {
    return;
  }
  std::vector<BlockPointer> wanted;
  const std::uint64_t end = std::min(block + depth, (dnode_.size + dnode_.block_bytes - 1) / dnode_.block_bytes);
  for (std::uint64_t i = std::max(block, std::min(ahead_, block + depth)); i < end; ++i) {
    if (const auto at = pointer(0, i); at.ok() && at->logical_bytes == dnode_.block_bytes) {
      wanted.push_back(*at);
    }
  }
  ahead_ = std::max(ahead_, end);
  set_.core_.blocks.read_ahead(wanted);
}

Status Object::read(std::uint64_t offset, std::span<std::byte> into) {
  if (dnode_.block_bytes == 0) {
    std::fill(into.begin(), into.end(), std::byte{0});
    return {};
  }
  while (!into.empty()) {
    const std::uint64_t index = offset / dnode_.block_bytes;
    const std::uint64_t at = offset % dnode_.block_bytes;
    const std::uint64_t length = std::min<std::uint64_t>(into.size(), dnode_.block_bytes - at);
    if (dnode_.levels > 1 && (at == 0 || index != next_read_ - 1)) {
      read_ahead(index);
    }
    SBENCH_TRY_SET(const BytesRef content, view(0, index));
    content ? std::memcpy(into.data(), content->data() + at, length) : std::memset(into.data(), 0, length);
    into = into.subspan(length);
    offset += length;
  }
  return {};
}

Result<std::optional<std::uint64_t>> Object::next_below(unsigned level, std::uint64_t block, std::uint64_t index) {
  SBENCH_TRY_SET(const BytesRef content, view(level, block));
  if (!content) {
    return std::optional<std::uint64_t>();
  }
  const std::uint64_t span = span_of(level - 1);
  const std::uint64_t start = block * kFanOut * span;
  const std::uint64_t first = index > start ? (index - start) / span : 0;
  bool empty = true;
  for (std::uint64_t i = first; i < kFanOut; ++i) {
    const std::uint64_t child = block * kFanOut + i;
    const bool hole = load<BlockPointer>(content->data() + i * sizeof(BlockPointer)).is_hole();
    empty = empty && hole;
    if (level == 1) {
      if (!hole) {
        return std::optional(child);
      }
    } else if (!hole || dirty_blocks_.contains(key(level - 1, child))) {
      SBENCH_TRY_SET(auto found, next_below(level - 1, child, index));
      if (found) {
        return found;
      }
    }
  }
  if (empty && first == 0 && !dirty_blocks_.contains(key(level, block))) {
    return locate(plain_error(EUCLEAN, "it points to nothing, and so would not have been written"), level, block);
  }
  return std::optional<std::uint64_t>();
}

Result<std::optional<std::uint64_t>> Object::next_block(std::uint64_t index) {
  const unsigned top = dnode_.levels - 1U;
  std::optional<std::uint64_t> found;
  if (top > 0 && index < span_of(top)) {
    SBENCH_TRY_SET(found, next_below(top, 0, index));
  } else if (top == 0 && index == 0 && !dnode_.root.is_hole()) {
    found = 0;
  }
  const auto dirty = dirty_blocks_.lower_bound(key(0, index));
  if (dirty != dirty_blocks_.end() && dirty->first < key(1, 0)) {
    found = std::min(found.value_or(dirty->first), dirty->first);
  }
  return found;
}

Result<std::uint64_t> Object::seek(std::uint64_t offset, bool data) {
  const std::uint64_t bytes = dnode_.block_bytes;
  if (offset >= dnode_.size || bytes == 0) {
    return data || offset >= dnode_.size ? dnode_.size : offset;
  }
  const std::uint64_t end = (dnode_.size - 1) / bytes;  // the last block
  std::uint64_t index = offset / bytes;
  if (data) {
    SBENCH_TRY_SET(const auto next, next_block(index));
    return next && *next <= end ? std::max(offset, *next * bytes) : dnode_.size;
  }
  for (std::uint64_t left = set_.core_.blocks.blocks_max() + dirty_blocks_.size(); index <= end; ++index) {
    SBENCH_TRY_SET(const bool has, has_block(index));
    if (!has) {
      return std::max(offset, index * bytes);
    }
    if (left-- == 0) {
      return plain_error(EUCLEAN, "{}: object {} has more blocks than the pool", set_.label_, id_);
    }
  }
  return dnode_.size;
}

}  // namespace sbench::cow_fs
