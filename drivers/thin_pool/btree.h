// btree.h: shadow-paged B+ trees from a 64-bit key to a value of fixed size.
//
// A node has a header, then all keys, then all values; an inner node's values
// are its children's block numbers, its keys their smallest keys (the first one
// stands for everything below the second). A node of a committed transaction is
// copied before it changes (shadow); one with several references, too, and then
// its children gain one: that is what makes a snapshot a matter of one count.
//
// Operations that change a tree return its new root. After an error in one, the
// running transaction is not whole and must not be committed.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "drivers/thin_pool/space_map.h"

namespace sbench::thin_pool {

class BTree {
 public:
  /// `add_value`, `drop_value`: for values that are references themselves; null where none are.
  using ValueReference = std::function<Status(const std::byte* value)>;
  BTree(BlockCache& cache, SpaceMap& metadata, BlockKind kind, std::uint32_t value_bytes, ValueReference add_value = {},
        ValueReference drop_value = {});

  [[nodiscard]] Result<std::uint64_t> make_empty();
  /// Copies the value out; false when the key is not there.
  [[nodiscard]] Result<bool> find(std::uint64_t root, std::uint64_t key, std::byte* value);
  /// Sets the value. The tree takes over the new value's reference; one that an
  /// overwritten value was stays the caller's to drop.
  [[nodiscard]] Result<std::uint64_t> insert(std::uint64_t root, std::uint64_t key, const std::byte* value);
  /// Removes the key, which must be there; its value's reference stays the caller's to drop.
  [[nodiscard]] Result<std::uint64_t> erase(std::uint64_t root, std::uint64_t key);
  /// Gives one reference to the tree back; the last one frees its nodes and drops its values.
  [[nodiscard]] Status drop(std::uint64_t root);
  /// Calls `visit` in key order for keys in [first, last] until it returns false.
  using Visit = std::function<Result<bool>(std::uint64_t key, const std::byte* value)>;
  [[nodiscard]] Status for_each(std::uint64_t root, std::uint64_t first, std::uint64_t last, const Visit& visit);

  [[nodiscard]] std::uint32_t capacity(std::uint16_t level) const { return level == 0 ? leaf_capacity_ : inner_capacity_; }
  /// Where keys and values of a node are, for walks of the whole tree (check.cpp).
  [[nodiscard]] std::uint64_t* keys(Block& node) const { return node.body<std::uint64_t>(); }
  [[nodiscard]] const std::uint64_t* keys(const Block& node) const { return node.body<std::uint64_t>(); }
  [[nodiscard]] std::byte* value(Block& node, std::uint32_t at) const;
  [[nodiscard]] const std::byte* value(const Block& node, std::uint32_t at) const;
  [[nodiscard]] std::uint64_t child(const Block& node, std::uint32_t at) const;
  /// A node whose header makes sense: level below its parent's, count within its capacity. Its keys are in order.
  [[nodiscard]] Result<BlockPtr> read_node(std::uint64_t number, int level);

 private:
  static constexpr int kAnyLevel = -1;
  static constexpr int kLevelsMax = 10;
  [[nodiscard]] std::uint32_t value_bytes(const Block& node) const;
  void set_child(Block& node, std::uint32_t at, std::uint64_t number) const;
  [[nodiscard]] std::uint32_t position(const Block& node, std::uint64_t key) const;
  void insert_at(Block& node, std::uint32_t at, std::uint64_t key, const std::byte* bytes) const;
  void erase_at(Block& node, std::uint32_t at) const;
  void move_entries(Block& from, std::uint32_t first, Block& to) const;

  [[nodiscard]] Result<BlockPtr> make_node(std::uint16_t level);
  [[nodiscard]] Result<BlockPtr> shadow(std::uint64_t number, int level);
  [[nodiscard]] Status add_children(const Block& node);
  [[nodiscard]] Status split_child(Block& parent, std::uint32_t at, Block& child);
  [[nodiscard]] Status erase_below(Block& node, std::uint64_t key);
  [[nodiscard]] Status merge_child(Block& parent, std::uint32_t at);
  [[nodiscard]] Status free_node(std::uint64_t number);
  [[nodiscard]] Status drop_node(std::uint64_t number, int level);
  /// A node and the keys its parent has it for: a tree whose entries share nodes ends in an error, not in ages.
  struct Below {
    std::uint64_t number = 0;
    int level = kAnyLevel;
    std::uint64_t key_min = 0;
    std::uint64_t key_max = 0;
  };
  [[nodiscard]] Result<bool> visit_node(const Below& below, std::uint64_t first, std::uint64_t last, const Visit& visit);
  [[nodiscard]] Error damaged(std::uint64_t number, const std::string& what) const;

  BlockCache& cache_;
  SpaceMap& metadata_;
  BlockKind kind_;
  std::uint32_t value_bytes_;
  std::uint32_t leaf_capacity_;
  std::uint32_t inner_capacity_;
  ValueReference add_value_;
  ValueReference drop_value_;
};

}  // namespace sbench::thin_pool
