// object_write.cpp: what changes an object: writing, freeing, and taking dirty blocks to new places.
#include <algorithm>
#include <limits>

#include "drivers/cow_fs/object.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kWriteBehindBytes = 4 << 20;  // less may be written again soon

bool all_zero(const Bytes& bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    if (load<std::uint64_t>(bytes.data() + at) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

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
  if (from.size() < dnode_.block_bytes && !is_at_hand(0, index)) {
    SBENCH_TRY(modify(0, index, true));
    partial_[index] = {};
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
  SBENCH_TRY_SET(const BytesRef old, stored(0, block));
  auto& written = part->second;
  std::sort(written.begin(), written.end(), [](const Written& a, const Written& b) { return a.begin < b.begin; });
  std::byte* const content = dirty_blocks_.at(key(0, block))->data();
  const auto fill = [&](std::uint64_t from, std::uint64_t to) {
    old ? std::memcpy(content + from, old->data() + from, to - from) : std::memset(content + from, 0, to - from);
  };
  std::uint64_t from = 0;
  for (const Written& each : written) {
    fill(from, each.begin);
    from = each.end;
  }
  fill(from, dnode_.block_bytes);
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

}  // namespace sbench::cow_fs
