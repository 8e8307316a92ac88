#include "drivers/union_fs/fd_cache.h"

namespace sbench::union_fs {

FdLease FdCache::find(const void* owner, std::uint16_t branch) {
  const Key key{owner, branch};
  Shard& part = shard(key);
  const std::lock_guard guard(part.lock);
  const auto found = part.items.find(key);
  if (found == part.items.end()) {
    return nullptr;
  }
  if (found->second != part.recent.begin()) {
    part.recent.splice(part.recent.begin(), part.recent, found->second);
  }
  return found->second->fd;
}

FdLease FdCache::insert(const void* owner, std::uint16_t branch, Fd fd) {
  const Key key{owner, branch};
  Shard& part = shard(key);
  FdLease dropped;  // closed after the lock
  const std::lock_guard guard(part.lock);
  if (const auto found = part.items.find(key); found != part.items.end()) {
    return found->second->fd;
  }
  part.recent.push_front({key, std::make_shared<const Fd>(std::move(fd))});
  part.items.emplace(key, part.recent.begin());
  FdLease lease = part.recent.front().fd;
  if (part.items.size() > shard_capacity_) {
    dropped = std::move(part.recent.back().fd);
    part.items.erase(part.recent.back().key);
    part.recent.pop_back();
  }
  return lease;
}

void FdCache::drop(const void* owner, std::uint16_t branch) {
  const Key key{owner, branch};
  Shard& part = shard(key);
  FdLease dropped;
  const std::lock_guard guard(part.lock);
  if (const auto found = part.items.find(key); found != part.items.end()) {
    dropped = std::move(found->second->fd);
    part.recent.erase(found->second);
    part.items.erase(found);
  }
}

void FdCache::clear() {
  for (Shard& part : shards_) {
    std::list<Item> dropped;
    const std::lock_guard guard(part.lock);
    part.items.clear();
    dropped.swap(part.recent);
  }
}

}  // namespace sbench::union_fs
