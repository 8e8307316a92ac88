#include "drivers/cow_fs/object.h"

#include <algorithm>
#include <limits>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kReadAheadBytes = 1 << 20;
constexpr std::uint64_t kWriteBehindBytes = 4 << 20;  // less may be written again soon

/// Blocks below one block of `level`.
std::uint64_t span_of(unsigned level) {
  std::uint64_t span = 1;
  for (unsigned i = 0; i < level; ++i) {
    span *= kFanOut;
  }
  return span;
}

bool all_zero(const Bytes& bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    if (load<std::uint64_t>(bytes.data() + at) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

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
  return Error{error.code, fmt::format("{}: object {} level {} block {}: {}", set_.label_, id_, level, block, error.what)};
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
  SBENCH_TRY_SET(const BlockPointer at, pointer(level, block));
  if (at.is_hole()) {
    return BytesRef();
  }
  if (at.level != level || at.logical_bytes != (level == 0 ? dnode_.block_bytes : kIndirectBytes)) {
    return locate(plain_error(EUCLEAN, "{}: not the block that belongs there", describe(at)), level, block);
  }
  auto content = set_.core_.blocks.read(at);
  return content.ok() ? std::move(content) : locate(content.error(), level, block);
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

Status Object::write(std::uint64_t offset, std::span<const std::byte> from, std::uint32_t record_bytes) {
  if (from.empty()) {
    return {};
  }
  const std::uint64_t begin = offset;
  const std::uint64_t end = offset + from.size();
  SBENCH_TRY(fit_block_bytes(end, record_bytes));
  while (!from.empty()) {
    const std::uint64_t index = offset / dnode_.block_bytes;
    const std::uint64_t at = offset % dnode_.block_bytes;
    const std::uint64_t length = std::min<std::uint64_t>(from.size(), dnode_.block_bytes - at);
    SBENCH_TRY(write_within(index, at, from.first(length)));
    from = from.subspan(length);
    offset += length;
    if (offset > dnode_.size) {
      change().size = offset;
    }
  }
  return set_.core_.write_behind && dnode_.levels > 1 ? write_behind(begin, end) : Status();
}

Status Object::write_within(std::uint64_t index, std::uint64_t at, std::span<const std::byte> from) {
  if (from.size() < dnode_.block_bytes && !partial_.contains(index) && !dirty_blocks_.contains(key(0, index))) {
    SBENCH_TRY_SET(const BlockPointer old, pointer(0, index));
    if (!old.is_hole() && old.level == 0 && old.logical_bytes == dnode_.block_bytes && !set_.core_.blocks.is_cached(old)) {
      SBENCH_TRY(modify(0, index, true));
      partial_[index] = {};
    }
  }
  const auto part = partial_.find(index);
  if (part == partial_.end() || from.size() == dnode_.block_bytes) {
    SBENCH_TRY_SET(Bytes* const content, modify(0, index, from.size() == dnode_.block_bytes));
    std::memcpy(content->data() + at, from.data(), from.size());
    return {};
  }
  std::memcpy(dirty_blocks_.at(key(0, index))->data() + at, from.data(), from.size());
  Written now{at, at + from.size()};
  std::erase_if(part->second, [&](const Written& each) {
    const bool touches = each.begin <= now.end && now.begin <= each.end;
    now = touches ? Written{std::min(each.begin, now.begin), std::max(each.end, now.end)} : now;
    return touches;
  });
  part->second.push_back(now);
  if (now.end - now.begin == dnode_.block_bytes) {
    partial_.erase(part);
  }
  return {};
}

Status Object::complete(std::uint64_t block) {
  const auto part = partial_.find(block);
  if (part == partial_.end()) {
    return {};
  }
  SBENCH_TRY_SET(const BlockPointer at, pointer(0, block));
  const auto old = set_.core_.blocks.read(at);
  if (!old.ok()) {
    return locate(old.error(), 0, block);
  }
  auto& written = part->second;
  std::sort(written.begin(), written.end(), [](const Written& a, const Written& b) { return a.begin < b.begin; });
  std::byte* const content = dirty_blocks_.at(key(0, block))->data();
  std::uint64_t from = 0;
  for (const Written& each : written) {
    std::memcpy(content + from, (*old)->data() + from, each.begin - from);
    from = each.end;
  }
  std::memcpy(content + from, (*old)->data() + from, (*old)->size() - from);
  partial_.erase(part);
  return {};
}

Status Object::complete_all() {
  constexpr std::size_t kBatch = 64;
  while (!partial_.empty()) {
    std::vector<std::uint64_t> blocks;
    std::vector<BlockPointer> wanted;
    for (auto it = partial_.begin(); it != partial_.end() && blocks.size() < kBatch; ++it) {
      SBENCH_TRY_SET(const BlockPointer at, pointer(0, it->first));
      blocks.push_back(it->first);
      wanted.push_back(at);
    }
    set_.core_.blocks.read_ahead(wanted);
    for (const std::uint64_t block : blocks) {
      SBENCH_TRY(complete(block));
    }
  }
  return {};
}

Status Object::write_behind(std::uint64_t offset, std::uint64_t end) {
  const std::uint64_t bytes = dnode_.block_bytes;
  if (offset != run_end_) {
    run_begin_ = offset;
    behind_ = (offset + bytes - 1) / bytes;
  }
  run_end_ = end;
  if (end - run_begin_ < kWriteBehindBytes) {
    return {};
  }
  for (; behind_ < end / bytes; ++behind_) {
    const auto found = dirty_blocks_.find(key(0, behind_));
    if (found == dirty_blocks_.end()) {
      continue;
    }
    SBENCH_TRY(complete(behind_));
    const DirtyBlock content = found->second;
    const Status written = write_block(0, behind_, content);
    if (!written.ok() && written.error().code == ENOSPC) {
      return {};  // the group's end may find room
    }
    SBENCH_TRY(written);
    set_.core_.dirty_bytes -= content->size();
    dirty_blocks_.erase(key(0, behind_));
  }
  return {};
}

Status Object::truncate(std::uint64_t size) {
  if (size < dnode_.size && dnode_.block_bytes > 0) {
    const std::uint64_t bytes = dnode_.block_bytes;
    const std::uint64_t kept = (size + bytes - 1) / bytes;
    SBENCH_TRY(free_blocks(kept, std::numeric_limits<std::uint64_t>::max()));
    if (size % bytes != 0) {
      SBENCH_TRY_SET(const bool has, has_block(size / bytes));
      if (has) {
        SBENCH_TRY_SET(Bytes* const last, modify(0, size / bytes, false));
        std::memset(last->data() + size % bytes, 0, last->size() - size % bytes);
      }
    }
  }
  change().size = size;
  if (size == 0) {
    dnode_.block_bytes = 0;
  }
  return {};
}

Status Object::punch(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t bytes = dnode_.block_bytes;
  const std::uint64_t end = std::min(offset + length, std::max(dnode_.size, offset));
  if (bytes == 0 || offset >= end) {
    return {};
  }
  const auto clear = [&](std::uint64_t from, std::uint64_t to) -> Status {  // within one block
    SBENCH_TRY_SET(const bool has, has_block(from / bytes));
    if (has) {
      SBENCH_TRY_SET(Bytes* const content, modify(0, from / bytes, false));
      std::memset(content->data() + from % bytes, 0, to - from);
    }
    return {};
  };
  const std::uint64_t first = (offset + bytes - 1) / bytes;
  const std::uint64_t last = end == dnode_.size ? (end + bytes - 1) / bytes : end / bytes;
  if (offset / bytes == (end - 1) / bytes && offset % bytes != 0) {
    return clear(offset, end);
  }
  if (offset % bytes != 0) {
    SBENCH_TRY(clear(offset, first * bytes));
  }
  if (first < last) {
    SBENCH_TRY(free_blocks(first, last));
  }
  return end > std::max(last, first) * bytes ? clear(std::max(last, first) * bytes, end) : Status();
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
      SBENCH_TRY_SET(const auto found, next_below(level - 1, child, index));
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

Status Object::free_pointer(const BlockPointer& pointer) {
  if (!set_.core_.blocks.is_plausible(pointer)) {
    return plain_error(EUCLEAN, "{}: object {}: {}: its pointer makes no sense", set_.label_, id_, describe(pointer));
  }
  dnode_.used_bytes -= std::min<std::uint64_t>(dnode_.used_bytes, pointer.physical_bytes);
  return set_.accounts_.freed(pointer);
}

Status Object::free_below(unsigned level, std::uint64_t index, std::uint64_t first, std::uint64_t end, bool doomed,
                          Budget& budget) {
  if (budget.blocks-- == 0) {
    return plain_error(EUCLEAN, "{}: object {}: more blocks of pointers than the pool can have", set_.label_, id_);
  }
  SBENCH_TRY_SET(const BytesRef content, view(level, index));
  if (!content) {
    return {};
  }
  const std::uint64_t span = span_of(level - 1);
  for (std::uint64_t i = 0; i < kFanOut; ++i) {
    const std::uint64_t child = index * kFanOut + i;
    if (child * span >= end) {
      break;
    }
    if ((child + 1) * span <= first) {
      continue;
    }
    const auto at = load<BlockPointer>(content->data() + i * sizeof(BlockPointer));
    const bool covered = child * span >= first && (child + 1) * span <= end;
    if (level > 1 && (!at.is_hole() || dirty_blocks_.contains(key(level - 1, child)))) {
      SBENCH_TRY(free_below(level - 1, child, first, end, covered, budget));
    }
    if (covered && !at.is_hole()) {
      SBENCH_TRY(free_pointer(at));
      if (!doomed) {
        SBENCH_TRY(set_pointer(level - 1, child, BlockPointer()));
      }
    }
  }
  return {};
}

void Object::drop_dirty(std::map<std::uint64_t, DirtyBlock>::iterator from, std::map<std::uint64_t, DirtyBlock>::iterator to) {
  for (auto it = from; it != to; ++it) {
    set_.core_.dirty_bytes -= it->second->size();
    if (it->first < key(1, 0)) {
      partial_.erase(it->first);
    }
  }
  dirty_blocks_.erase(from, to);
}

Status Object::free_blocks(std::uint64_t first, std::uint64_t end) {
  const unsigned top = dnode_.levels - 1U;
  const bool all = first == 0 && end >= span_of(top);
  end = std::min(end, span_of(top));
  if (first >= end) {
    return {};
  }
  mark_dirty();
  if (top > 0) {
    Budget budget{set_.core_.blocks.blocks_max() + dirty_blocks_.size()};
    SBENCH_TRY(free_below(top, 0, first, end, all, budget));
  }
  if (all && !dnode_.root.is_hole()) {
    SBENCH_TRY(free_pointer(dnode_.root));
  }
  for (unsigned level = 0; level <= top; ++level) {
    const std::uint64_t span = span_of(level);
    const std::uint64_t from = (first + span - 1) / span;
    const std::uint64_t to = end / span;
    if (from < to) {
      drop_dirty(dirty_blocks_.lower_bound(key(level, from)), dirty_blocks_.lower_bound(key(level, to)));
    }
  }
  if (all) {
    dnode_.root = {};
    dnode_.levels = 1;
  }
  return {};
}

Status Object::write_block(unsigned level, std::uint64_t block, const DirtyBlock& content) {
  Core& core = set_.core_;
  const BlockKind what = kind(level);
  const Compression compression = what == BlockKind::data ? set_.compression_ : Compression::lz4;
  SBENCH_TRY_SET(const BlockPointer old, pointer(level, block));
  BlockPointer now;
  if (compression == Compression::off || !all_zero(*content)) {
    auto encoded = BlockStore::encode(content, what, level, compression);
    SBENCH_TRY_SET(encoded.pointer.address, core.space.allocate(encoded.pointer.physical_bytes));
    encoded.pointer.birth = core.group;
    SBENCH_TRY(core.blocks.write(encoded, content));
    ++core.blocks_written;
    core.bytes_written += encoded.pointer.physical_bytes;
    set_.accounts_.born(encoded.pointer);
    dnode_.used_bytes += encoded.pointer.physical_bytes;
    now = encoded.pointer;
  }
  if (!old.is_hole()) {
    SBENCH_TRY(free_pointer(old));
  }
  return old.is_hole() && now.is_hole() ? Status() : set_pointer(level, block, now);
}

Status Object::sync() {
  SBENCH_TRY(complete_all());
  if (dnode_.levels == 1 && dnode_.type == ObjectType::node && kind(0) == BlockKind::data && dirty_blocks_.contains(key(0, 0))) {
    const std::uint64_t fitting = std::max(kSector, round_up(dnode_.size, kSector));
    if (fitting < dnode_.block_bytes) {
      SBENCH_TRY(set_block_bytes(static_cast<std::uint32_t>(fitting)));
    }
  }
  for (unsigned level = 0; level < dnode_.levels; ++level) {
    for (auto it = dirty_blocks_.lower_bound(key(level, 0)); it != dirty_blocks_.end() && it->first < key(level + 1, 0);
         it = dirty_blocks_.erase(it)) {
      SBENCH_TRY(write_block(level, it->first & (key(1, 0) - 1), it->second));
      set_.core_.dirty_bytes -= it->second->size();
    }
  }
  return {};
}

ObjectSet::ObjectSet(Core& core, Accounts& accounts, std::string label, Compression compression)
    : core_(core), accounts_(accounts), label_(std::move(label)), compression_(compression) {}

void ObjectSet::make(std::uint64_t first_object) {
  block_ = {};
  block_.magic = kObjectSetMagic;
  block_.next_object = first_object;
  block_.dnodes.type = ObjectType::dnodes;
  block_.dnodes.block_bytes = kDnodeBlockBytes;
  dnodes_ = std::make_unique<Object>(*this, 0, block_.dnodes);
  changed_ = true;
}

Status ObjectSet::load(const BlockPointer& objects) {
  const auto content = core_.blocks.read(objects);
  if (!content.ok()) {
    return Error{content.error().code, fmt::format("{}: {}", label_, content.error().what)};
  }
  if ((*content)->size() >= sizeof(ObjectSetBlock)) {
    block_ = cow_fs::load<ObjectSetBlock>((*content)->data());
  }
  if (block_.magic != kObjectSetMagic || !is_plausible(block_.dnodes) || block_.dnodes.block_bytes != kDnodeBlockBytes ||
      block_.next_object > kObjectsMax) {
    return plain_error(EUCLEAN, "{}: {}: no object set", label_, describe(objects));
  }
  pointer_ = objects;
  dnodes_ = std::make_unique<Object>(*this, 0, block_.dnodes);
  return {};
}

Result<ObjectRef> ObjectSet::open(std::uint64_t id) {
  if (const auto found = open_.find(id); found != open_.end()) {
    if (found->second->dnode().type == ObjectType::free) {
      return plain_error(ENOENT, "{}: no object {}", label_, id);
    }
    return found->second;
  }
  if (id == 0 || id >= block_.next_object) {
    return plain_error(ENOENT, "{}: no object {}", label_, id);
  }
  SBENCH_TRY_SET(const BytesRef block, dnodes_->block(id / kDnodesPerBlock));
  Dnode dnode;
  if (block) {
    dnode = cow_fs::load<Dnode>(block->data() + id % kDnodesPerBlock * kDnodeBytes);
  }
  if (dnode.type == ObjectType::free) {
    return plain_error(ENOENT, "{}: no object {}", label_, id);
  }
  if (!is_plausible(dnode)) {
    return plain_error(EUCLEAN, "{}: object {}: its dnode makes no sense", label_, id);
  }
  auto object = std::make_shared<Object>(*this, id, dnode);
  open_[id] = object;
  return object;
}

Result<ObjectRef> ObjectSet::create(ObjectType type, std::uint64_t id) {
  if (id == 0) {
    id = block_.next_object;
  }
  block_.next_object = std::max(block_.next_object, id + 1);
  Dnode dnode;
  dnode.type = type;
  auto object = std::make_shared<Object>(*this, id, dnode);
  object->mark_dirty();
  open_[id] = object;
  ++block_.objects;
  return object;
}

Status ObjectSet::remove(const ObjectRef& object) {
  SBENCH_TRY(object->free_blocks(0, std::numeric_limits<std::uint64_t>::max()));
  object->change() = Dnode();
  --block_.objects;
  return {};
}

Status ObjectSet::for_each(const std::function<Status(const ObjectRef&)>& visit) {
  std::uint64_t left = core_.blocks.blocks_max() + dnodes_->dirty_blocks_.size();
  for (std::uint64_t index = 0;; ++index) {
    SBENCH_TRY_SET(const auto stored, dnodes_->next_block(index));
    // Objects that were never written are in no block, and only in memory.
    const auto made = dirty_.lower_bound(index * kDnodesPerBlock);
    if (!stored && made == dirty_.end()) {
      return {};
    }
    index = std::min(stored.value_or(~std::uint64_t{0}), made == dirty_.end() ? ~std::uint64_t{0} : *made / kDnodesPerBlock);
    const std::uint64_t first = index * kDnodesPerBlock;
    if (first >= block_.next_object) {
      return {};
    }
    for (std::uint64_t id = std::max<std::uint64_t>(first, 1); id < std::min(first + kDnodesPerBlock, block_.next_object); ++id) {
      auto object = open(id);
      if (object.ok()) {
        SBENCH_TRY(visit(*object));
      } else if (object.error().code != ENOENT) {
        return object.error();
      }
    }
    if (stored == index && left-- == 0) {
      return plain_error(EUCLEAN, "{}: more blocks of dnodes than the pool has", label_);
    }
  }
}

Result<BlockPointer> ObjectSet::sync() {
  if (!is_dirty()) {
    return pointer_;
  }
  for (const std::uint64_t id : dirty_) {
    Object& object = *open_.at(id);
    SBENCH_TRY(object.sync());
    SBENCH_TRY_SET(const auto block, dnodes_->modify_block(id / kDnodesPerBlock));
    store(block.data() + id % kDnodesPerBlock * kDnodeBytes, object.dnode_);
    object.dirty_ = false;
    if (object.dnode_.type == ObjectType::free) {
      open_.erase(id);
    }
  }
  core_.dirty_objects -= dirty_.size();
  dirty_.clear();
  SBENCH_TRY(dnodes_->sync());
  dnodes_->dirty_ = false;
  block_.dnodes = dnodes_->dnode_;
  auto content = std::make_shared<Bytes>(zeroed(kSector));
  store(content->data(), block_);
  auto encoded = BlockStore::encode(content, BlockKind::object_set, 0, Compression::off);
  SBENCH_TRY_SET(encoded.pointer.address, core_.space.allocate(encoded.pointer.physical_bytes));
  encoded.pointer.birth = core_.group;
  SBENCH_TRY(core_.blocks.write(encoded, content));
  ++core_.blocks_written;
  core_.bytes_written += encoded.pointer.physical_bytes;
  accounts_.born(encoded.pointer);
  if (!pointer_.is_hole()) {
    SBENCH_TRY(accounts_.freed(pointer_));
  }
  pointer_ = encoded.pointer;
  changed_ = false;
  return pointer_;
}

void ObjectSet::trim() {
  std::erase_if(open_, [](const auto& entry) {
    const Object& object = *entry.second;
    return entry.second.use_count() == 1 && object.references == 0 && !object.dirty_ && object.dirty_blocks_.empty();
  });
}

}  // namespace sbench::cow_fs
