#include "drivers/union_fs/node_table.h"

namespace sbench::union_fs {

NodeTable::NodeTable(std::function<void(Node&)> last_words) : last_words_(std::move(last_words)) {}

NodeTable::~NodeTable() {
  for (Shard& part : shards_) {
    for (Node* node : part.buckets) {
      while (node != nullptr) {
        Node* next = node->next;
        delete node;
        node = next;
      }
    }
  }
}

void NodeTable::Shard::insert(Node& node, std::uint64_t hash) {
  if (count >= buckets.size()) {
    std::vector<Node*> old(buckets.size() * 2, nullptr);
    old.swap(buckets);
    for (Node* chain : old) {
      while (chain != nullptr) {
        Node* next = chain->next;
        Node** to = slot(hash_of(chain->key));
        chain->next = *to;
        *to = chain;
        chain = next;
      }
    }
  }
  Node** to = slot(hash);
  node.next = *to;
  *to = &node;
  node.in_table = true;
  node.shard.store(static_cast<std::uint8_t>(hash % kShards), std::memory_order_release);
  count += 1;
}

void NodeTable::Shard::erase(Node& node, std::uint64_t hash) {
  for (Node** at = slot(hash); *at != nullptr; at = &(*at)->next) {
    if (*at == &node) {
      *at = node.next;
      node.next = nullptr;
      node.in_table = false;
      count -= 1;
      return;
    }
  }
}

Node* NodeTable::find(const Key& key) {
  const std::uint64_t hash = hash_of(key);
  Shard& part = shard(hash);
  const std::lock_guard guard(part.lock);
  for (Node* node = *part.slot(hash); node != nullptr; node = node->next) {
    if (node->key == key) {
      hold(*node);
      return node;
    }
  }
  return nullptr;
}

Node* NodeTable::put(std::unique_ptr<Node> fresh) {
  const std::uint64_t hash = hash_of(fresh->key);
  Shard& part = shard(hash);
  Node* there = nullptr;
  {
    const std::lock_guard guard(part.lock);
    for (Node* node = *part.slot(hash); node != nullptr; node = node->next) {
      if (node->key == fresh->key) {
        hold(*node);
        there = node;
        break;
      }
    }
    if (there == nullptr) {
      part.insert(*fresh, hash);
      return fresh.release();
    }
  }
  drop(fresh->parent);
  return there;
}

void NodeTable::rekey(Node& node, const Key& key) {
  const std::uint64_t old_hash = hash_of(node.key);
  const std::uint64_t new_hash = hash_of(key);
  Shard* first = &shard(old_hash);
  Shard* second = &shard(new_hash);
  std::unique_lock<std::mutex> one(first->lock, std::defer_lock);
  std::unique_lock<std::mutex> two;
  if (first == second) {
    one.lock();
  } else {
    two = std::unique_lock(second->lock, std::defer_lock);
    std::lock(one, two);
  }
  const bool listed = node.in_table;
  if (listed) {
    first->erase(node, old_hash);
  }
  node.key = key;
  if (listed) {
    second->insert(node, new_hash);
  }
}

std::unique_lock<std::mutex> NodeTable::lock_of(const Node& node) {
  for (;;) {
    const std::uint8_t at = node.shard.load(std::memory_order_acquire);
    std::unique_lock guard(shards_[at].lock);
    if (node.shard.load(std::memory_order_relaxed) == at) {
      return guard;
    }
  }
}

void NodeTable::detach_locked(Node& node) {
  if (node.in_table) {
    const std::uint64_t hash = hash_of(node.key);
    shard(hash).erase(node, hash);
  }
}

void NodeTable::detach(Node& node) {
  const auto guard = lock_of(node);
  detach_locked(node);
}

void NodeTable::drop(Node* node, std::uint64_t count) {
  while (node != nullptr) {
    std::uint64_t holds = node->holds.load(std::memory_order_relaxed);
    while (holds > count) {
      if (node->holds.compare_exchange_weak(holds, holds - count, std::memory_order_acq_rel)) {
        return;
      }
    }
    {
      const auto guard = lock_of(*node);
      if (node->holds.fetch_sub(count, std::memory_order_acq_rel) != count) {
        return;
      }
      detach_locked(*node);
    }
    Node* parent = node->parent;
    last_words_(*node);
    delete node;
    node = parent;
    count = 1;
  }
}

std::size_t NodeTable::size() const {
  std::size_t size = 0;
  for (const Shard& part : shards_) {
    const std::lock_guard guard(part.lock);
    size += part.count;
  }
  return size;
}

}  // namespace sbench::union_fs
