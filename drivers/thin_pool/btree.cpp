#include "drivers/thin_pool/btree.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace sbench::thin_pool {

namespace {
constexpr std::uint32_t kKeyBytes = sizeof(std::uint64_t);
constexpr std::uint32_t kChildBytes = sizeof(std::uint64_t);
}  // namespace

BTree::BTree(BlockCache& cache, SpaceMap& metadata, BlockKind kind, std::uint32_t value_bytes, ValueReference add_value,
             ValueReference drop_value)
    : cache_(cache),
      metadata_(metadata),
      kind_(kind),
      value_bytes_(value_bytes),
      leaf_capacity_(static_cast<std::uint32_t>(kBodyBytes / (kKeyBytes + value_bytes))),
      inner_capacity_(static_cast<std::uint32_t>(kBodyBytes / (kKeyBytes + kChildBytes))),
      add_value_(std::move(add_value)),
      drop_value_(std::move(drop_value)) {}

std::uint32_t BTree::value_bytes(const Block& node) const {
  return node.header().level == 0 ? value_bytes_ : kChildBytes;
}

const std::byte* BTree::value(const Block& node, std::uint32_t at) const {
  return node.body<std::byte>() + std::size_t{capacity(node.header().level)} * kKeyBytes +
         std::size_t{at} * value_bytes(node);
}

std::byte* BTree::value(Block& node, std::uint32_t at) const {
  return const_cast<std::byte*>(value(static_cast<const Block&>(node), at));
}

std::uint64_t BTree::child(const Block& node, std::uint32_t at) const {
  std::uint64_t number = 0;
  std::memcpy(&number, value(node, at), sizeof(number));
  return number;
}

void BTree::set_child(Block& node, std::uint32_t at, std::uint64_t number) const {
  std::memcpy(value(node, at), &number, sizeof(number));
}

/// The last entry whose key is not greater, or 0.
std::uint32_t BTree::position(const Block& node, std::uint64_t key) const {
  const std::uint64_t* first = keys(node);
  const auto after = std::upper_bound(first, first + node.header().count, key) - first;
  return after == 0 ? 0 : static_cast<std::uint32_t>(after - 1);
}

void BTree::insert_at(Block& node, std::uint32_t at, std::uint64_t key, const std::byte* bytes) const {
  const std::uint32_t count = node.header().count;
  SBENCH_CHECK(count < capacity(node.header().level) && at <= count);
  std::uint64_t* all = keys(node);
  std::memmove(all + at + 1, all + at, std::size_t{count - at} * kKeyBytes);
  all[at] = key;
  const std::size_t width = value_bytes(node);
  std::memmove(value(node, at + 1), value(node, at), (count - at) * width);
  std::memcpy(value(node, at), bytes, width);
  ++node.header().count;
}

void BTree::erase_at(Block& node, std::uint32_t at) const {
  const std::uint32_t count = node.header().count;
  std::uint64_t* all = keys(node);
  std::memmove(all + at, all + at + 1, std::size_t{count - at - 1} * kKeyBytes);
  std::memmove(value(node, at), value(node, at + 1), std::size_t{count - at - 1} * value_bytes(node));
  --node.header().count;
}

/// Appends the entries of `from` behind `first` to `to`.
void BTree::move_entries(Block& from, std::uint32_t first, Block& to) const {
  const std::uint32_t moved = from.header().count - first;
  const std::uint32_t at = to.header().count;
  std::memcpy(keys(to) + at, keys(from) + first, std::size_t{moved} * kKeyBytes);
  std::memcpy(value(to, at), value(from, first), std::size_t{moved} * value_bytes(from));
  to.header().count = static_cast<std::uint16_t>(at + moved);
  from.header().count = static_cast<std::uint16_t>(first);
}

Error BTree::damaged(std::uint64_t number, const std::string& what) const {
  return plain_error(EUCLEAN, "metadata block {} ({}) is damaged: {}", number, to_string(kind_), what);
}

Result<BlockPtr> BTree::read_node(std::uint64_t number, int level) {
  SBENCH_TRY_SET(BlockPtr node, cache_.read(number, kind_));
  const BlockHeader& header = node->header();
  const bool level_fits = level == kAnyLevel ? header.level < kLevelsMax : header.level == level;
  if (!level_fits || header.count > capacity(header.level) || (header.level > 0 && header.count == 0)) {
    return damaged(number, fmt::format("level {}, {} entries", header.level, header.count));
  }
  return node;
}

Result<BlockPtr> BTree::make_node(std::uint16_t level) {
  SBENCH_TRY_SET(const std::uint64_t number, metadata_.reserve());
  SBENCH_TRY(metadata_.add(number));
  BlockPtr node = cache_.make(number, kind_);
  node->header().level = level;
  return node;
}

Result<std::uint64_t> BTree::make_empty() {
  SBENCH_TRY_SET(const BlockPtr node, make_node(0));
  return node->number();
}

/// Every child, or value, gains a reference: a second node names it now.
Status BTree::add_children(const Block& node) {
  for (std::uint32_t i = 0; i < node.header().count; ++i) {
    if (node.header().level > 0) {
      SBENCH_TRY(metadata_.add(child(node, i)));
    } else if (add_value_) {
      SBENCH_TRY(add_value_(value(node, i)));
    }
  }
  return {};
}

/// A node that this transaction may change and nobody else names, in place of `number`.
Result<BlockPtr> BTree::shadow(std::uint64_t number, int level) {
  SBENCH_TRY_SET(BlockPtr old, read_node(number, level));
  SBENCH_TRY_SET(const std::uint32_t references, metadata_.count(number));
  if (references == 1 && cache_.is_new(number)) {
    return old;
  }
  SBENCH_TRY_SET(BlockPtr copy, make_node(old->header().level));
  std::memcpy(copy->body<std::byte>(), old->body<std::byte>(), kBodyBytes);
  copy->header().count = old->header().count;
  if (references > 1) {
    SBENCH_TRY(add_children(*copy));
  }
  SBENCH_TRY_SET([[maybe_unused]] const auto left, metadata_.remove(number));
  return copy;
}

/// Moves the upper half of a full child into a new sibling.
Status BTree::split_child(Block& parent, std::uint32_t at, Block& child) {
  SBENCH_TRY_SET(const BlockPtr sibling, make_node(child.header().level));
  // A tree that grows at its end keeps full leaves behind: the split leaves one entry to the new one.
  const bool appending = at + 1 == parent.header().count && child.header().level == 0;
  const std::uint32_t kept = appending ? child.header().count - 1u : child.header().count / 2u;
  move_entries(child, kept, *sibling);
  const std::uint64_t number = sibling->number();
  insert_at(parent, at + 1, keys(*sibling)[0], reinterpret_cast<const std::byte*>(&number));
  return {};
}

Result<bool> BTree::find(std::uint64_t root, std::uint64_t key, std::byte* result) {
  SBENCH_TRY_SET(BlockPtr node, read_node(root, kAnyLevel));
  while (node->header().level > 0) {
    SBENCH_TRY_SET(node, read_node(child(*node, position(*node, key)), node->header().level - 1));
  }
  const std::uint32_t at = position(*node, key);
  if (node->header().count == 0 || keys(*node)[at] != key) {
    return false;
  }
  std::memcpy(result, value(*node, at), value_bytes_);
  return true;
}

Result<std::uint64_t> BTree::insert(std::uint64_t root, std::uint64_t key, const std::byte* bytes) {
  SBENCH_TRY_SET(BlockPtr node, shadow(root, kAnyLevel));
  if (node->header().count == capacity(node->header().level)) {
    SBENCH_TRY_SET(const BlockPtr top, make_node(static_cast<std::uint16_t>(node->header().level + 1)));
    const std::uint64_t number = node->number();
    insert_at(*top, 0, keys(*node)[0], reinterpret_cast<const std::byte*>(&number));
    SBENCH_TRY(split_child(*top, 0, *node));
    node = top;
  }
  const std::uint64_t new_root = node->number();
  while (node->header().level > 0) {
    std::uint32_t at = position(*node, key);
    keys(*node)[at] = std::min(keys(*node)[at], key);
    SBENCH_TRY_SET(BlockPtr next, shadow(child(*node, at), node->header().level - 1));
    set_child(*node, at, next->number());
    if (next->header().count == capacity(next->header().level)) {
      SBENCH_TRY(split_child(*node, at, *next));
      at += key < keys(*node)[at + 1] ? 0 : 1;  // one of the two halves, whatever a damaged tree's other keys say
      SBENCH_TRY_SET(next, read_node(child(*node, at), node->header().level - 1));
    }
    node = next;
  }
  const std::uint32_t count = node->header().count;
  const std::uint32_t at = position(*node, key);
  if (count > 0 && keys(*node)[at] == key) {
    std::memcpy(value(*node, at), bytes, value_bytes_);
  } else {
    insert_at(*node, count == 0 || key < keys(*node)[at] ? 0 : at + 1, key, bytes);
  }
  return new_root;
}

Status BTree::free_node(std::uint64_t number) {
  SBENCH_TRY_SET(const std::uint32_t left, metadata_.remove(number));
  if (left > 0) {
    return damaged(number, fmt::format("it is empty but has {} references more", left));
  }
  cache_.drop(number);
  return {};
}

/// Joins a thin child with its neighbour when both fit well into one node.
Status BTree::merge_child(Block& parent, std::uint32_t at) {
  const std::uint32_t left_at = at + 1 < parent.header().count ? at : at - 1;
  if (child(parent, left_at) == child(parent, left_at + 1)) {
    return damaged(parent.number(), "two entries name the same node");
  }
  SBENCH_TRY_SET(const BlockPtr left_seen, read_node(child(parent, left_at), parent.header().level - 1));
  SBENCH_TRY_SET(const BlockPtr right_seen, read_node(child(parent, left_at + 1), parent.header().level - 1));
  const std::uint32_t limit = capacity(left_seen->header().level) / 4 * 3;
  if (std::uint32_t{left_seen->header().count} + right_seen->header().count > limit) {
    return {};
  }
  SBENCH_TRY_SET(const BlockPtr left, shadow(left_seen->number(), kAnyLevel));
  SBENCH_TRY_SET(const BlockPtr right, shadow(right_seen->number(), kAnyLevel));
  move_entries(*right, 0, *left);
  set_child(parent, left_at, left->number());
  erase_at(parent, left_at + 1);
  return free_node(right->number());
}

/// Removes the key from below a node that may be changed.
Status BTree::erase_below(Block& node, std::uint64_t key) {
  const std::uint32_t at = position(node, key);
  if (node.header().level == 0) {
    if (node.header().count == 0 || keys(node)[at] != key) {
      return damaged(node.number(), fmt::format("key {} is not where it was found", key));
    }
    erase_at(node, at);
    return {};
  }
  SBENCH_TRY_SET(const BlockPtr next, shadow(child(node, at), node.header().level - 1));
  set_child(node, at, next->number());
  SBENCH_TRY(erase_below(*next, key));
  if (next->header().count == 0) {
    erase_at(node, at);
    return free_node(next->number());
  }
  if (next->header().count < capacity(next->header().level) / 4 && node.header().count > 1) {
    return merge_child(node, at);
  }
  return {};
}

Result<std::uint64_t> BTree::erase(std::uint64_t root, std::uint64_t key) {
  SBENCH_TRY_SET(BlockPtr node, shadow(root, kAnyLevel));
  SBENCH_TRY(erase_below(*node, key));
  while (node->header().level > 0 && node->header().count <= 1) {  // the top gave all but one child away
    const std::uint64_t top = node->number();
    if (node->header().count == 0) {
      node->header().level = 0;
      return top;
    }
    SBENCH_TRY_SET(node, read_node(child(*node, 0), node->header().level - 1));
    SBENCH_TRY(free_node(top));
  }
  return node->number();
}

Status BTree::drop_node(std::uint64_t number, int level) {
  SBENCH_TRY_SET(const BlockPtr node, read_node(number, level));
  SBENCH_TRY_SET(const std::uint32_t left, metadata_.remove(number));
  if (left > 0) {
    return {};
  }
  for (std::uint32_t i = 0; i < node->header().count; ++i) {
    if (node->header().level > 0) {
      SBENCH_TRY(drop_node(child(*node, i), node->header().level - 1));
    } else if (drop_value_) {
      SBENCH_TRY(drop_value_(value(*node, i)));
    }
  }
  cache_.drop(number);
  return {};
}

Status BTree::drop(std::uint64_t root) { return drop_node(root, kAnyLevel); }

Result<bool> BTree::visit_node(const Below& below, std::uint64_t first, std::uint64_t last, const Visit& visit) {
  SBENCH_TRY_SET(const BlockPtr node, read_node(below.number, below.level));
  const std::uint32_t count = node->header().count;
  const std::uint64_t* all = keys(*node);
  // The first key of a node may be too small, and stands for everything below the second.
  if ((count > 0 && all[count - 1] > below.key_max) || (count > 1 && all[1] < below.key_min)) {
    return damaged(below.number, "its keys are not those its parent says");
  }
  for (std::uint32_t i = position(*node, first); i < count; ++i) {
    const std::uint64_t key = all[i];
    if (key > last) {
      return false;
    }
    if (node->header().level > 0) {
      const Below next{child(*node, i), node->header().level - 1, i == 0 ? below.key_min : key,
                       i + 1 < count ? all[i + 1] - 1 : below.key_max};
      SBENCH_TRY_SET(const bool more, visit_node(next, first, last, visit));
      if (!more) {
        return false;
      }
    } else if (key >= first) {
      SBENCH_TRY_SET(const bool more, visit(key, value(*node, i)));
      if (!more) {
        return false;
      }
    }
  }
  return true;
}

Status BTree::for_each(std::uint64_t root, std::uint64_t first, std::uint64_t last, const Visit& visit) {
  SBENCH_TRY_SET([[maybe_unused]] const bool whole,
                 visit_node({root, kAnyLevel, 0, std::numeric_limits<std::uint64_t>::max()}, first, last, visit));
  return {};
}

}  // namespace sbench::thin_pool
