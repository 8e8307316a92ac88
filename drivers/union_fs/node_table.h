// node_table.h: all nodes somebody holds, found by the identity of their real file. Thread-safe.
#pragma once

#include <array>
#include <functional>
#include <limits>
#include <mutex>
#include <vector>

#include "drivers/union_fs/node.h"

namespace sbench::union_fs {

class NodeTable {
 public:
  /// `last_words` is called for each node right before it is freed, without locks held.
  explicit NodeTable(std::function<void(Node&)> last_words);
  /// Frees what is left.
  ~NodeTable();

  /// The node of `key` with one more hold, or nullptr.
  [[nodiscard]] Node* find(const Key& key);
  /// Puts `fresh` (one hold, its parent held) in, unless the key has a node already: that one gets the hold, `fresh` goes.
  [[nodiscard]] Node* put(std::unique_ptr<Node> fresh);
  /// The node's real file is another now (copy-up).
  void rekey(Node& node, const Key& key);
  /// The real file is gone: nothing finds the node any more, its holders keep it.
  void detach(Node& node);

  static void hold(Node& node) { node.holds.fetch_add(1, std::memory_order_relaxed); }
  /// Gives holds back; the node, and parents only it held, are freed with the last.
  void drop(Node* node, std::uint64_t count = 1);

  [[nodiscard]] std::size_t size() const;

 private:
  static constexpr std::size_t kShards = 64;
  static_assert(kShards - 1 <= std::numeric_limits<std::uint8_t>::max(), "Node::shard holds its number");
  struct Shard {
    mutable std::mutex lock;
    std::vector<Node*> buckets = std::vector<Node*>(16, nullptr);
    std::size_t count = 0;

    Node** slot(std::uint64_t hash) { return &buckets[(hash >> 6) & (buckets.size() - 1)]; }
    void insert(Node& node, std::uint64_t hash);
    void erase(Node& node, std::uint64_t hash);
  };
  static std::uint64_t hash_of(const Key& key) {
    std::uint64_t x = key.inode + (std::uint64_t{key.file_system} << 48);
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
    return x ^ (x >> 29);
  }
  Shard& shard(std::uint64_t hash) { return shards_[hash % kShards]; }
  /// The lock of the node's shard: while it is held, the node stays in that shard, or out of the table.
  [[nodiscard]] std::unique_lock<std::mutex> lock_of(const Node& node);
  void detach_locked(Node& node);  ///< the lock of its shard is held

  std::function<void(Node&)> last_words_;
  std::array<Shard, kShards> shards_;
};

}  // namespace sbench::union_fs
