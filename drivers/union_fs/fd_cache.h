// fd_cache.h: the descriptors of branch directories, as many as fit, least recently used out first.
//
// A lease keeps its descriptor open; eviction only forgets it. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "drivers/base/fd.h"

namespace sbench::union_fs {

using FdLease = std::shared_ptr<const Fd>;

class FdCache {
 public:
  explicit FdCache(std::size_t capacity) : shard_capacity_(capacity / kShards + 1) {}

  /// nullptr when not cached.
  [[nodiscard]] FdLease find(const void* owner, std::uint16_t branch);
  /// Takes `fd` in, unless another thread was first: then that one's descriptor comes back.
  [[nodiscard]] FdLease insert(const void* owner, std::uint16_t branch, Fd fd);
  void drop(const void* owner, std::uint16_t branch);
  /// Forgets everything (descriptors ran out).
  void clear();

 private:
  static constexpr std::size_t kShards = 8;
  struct Key {
    const void* owner;
    std::uint16_t branch;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const {
      return (reinterpret_cast<std::uintptr_t>(key.owner) >> 4) * 0x9E3779B97F4A7C15u + key.branch * 0xC2B2AE3D27D4EB4Fu;
    }
  };
  struct Item {
    Key key;
    FdLease fd;
  };
  struct Shard {
    std::mutex lock;
    std::list<Item> recent;  // most recently used first
    std::unordered_map<Key, std::list<Item>::iterator, Hash> items;
  };
  Shard& shard(const Key& key) { return shards_[(Hash{}(key) >> 40) % kShards]; }

  std::size_t shard_capacity_;
  std::array<Shard, kShards> shards_;
};

}  // namespace sbench::union_fs
