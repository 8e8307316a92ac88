#include "drivers/fuse/known_nodes.h"

#include <algorithm>
#include <chrono>

namespace sbench::fuse {

KnownNodes::KnownNodes(std::size_t nodes_max, bool keeps_names, Prune prune)
    : nodes_max_(nodes_max), keeps_names_(keeps_names), prune_(std::move(prune)), worker_([this] { work(); }) {}

KnownNodes::~KnownNodes() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  worker_.join();
}

void KnownNodes::add(KernelNode node, KernelNode parent, std::string_view name) {
  {
    Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    Known& known = shard.nodes[node];
    if (known.references++ == 0) {
      size_.fetch_add(1, std::memory_order_relaxed);
    }
    known.age = clock_.fetch_add(1, std::memory_order_relaxed);
    if (keeps_names_ && !name.empty()) {
      known.parent = parent;
      known.name = name;
    }
  }
  if (size() > nodes_max_) {
    {
      const std::lock_guard lock(mutex_);
      wanted_ = true;
    }
    wake_.notify_one();
  }
}

bool KnownNodes::forget(KernelNode node, std::uint64_t references) {
  Shard& shard = shard_of(node);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(node);
  if (found == shard.nodes.end()) {
    return false;
  }
  found->second.references -= std::min(found->second.references, references);
  if (found->second.references > 0) {
    return false;
  }
  shard.nodes.erase(found);
  size_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

/// The oldest quarter; it is young again afterwards, so that what stays in use is not named in every round.
std::vector<KnownNodes::Victim> KnownNodes::choose_victims() {
  std::vector<std::uint64_t> ages;
  for (auto& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (const auto& [node, known] : shard.nodes) {
      ages.push_back(known.age);
    }
  }
  if (ages.size() <= nodes_max_) {
    return {};
  }
  const auto limit = ages.begin() + static_cast<std::ptrdiff_t>(ages.size() - nodes_max_ + nodes_max_ / 4);
  std::nth_element(ages.begin(), limit, ages.end());
  std::vector<Victim> victims;
  for (auto& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (auto& [node, known] : shard.nodes) {
      if (known.age < *limit) {
        known.age = clock_.fetch_add(1, std::memory_order_relaxed);
        victims.push_back({node, known.parent, known.name});
      }
    }
  }
  return victims;
}

void KnownNodes::work() {
  constexpr std::chrono::milliseconds kPause{20};  // the kernel's forgets arrive meanwhile
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait(lock, [this] { return wanted_ || stopping_; });
    wanted_ = false;
    lock.unlock();
    if (const auto victims = choose_victims(); !victims.empty()) {
      prune_(victims);
    }
    lock.lock();
    wake_.wait_for(lock, kPause, [this] { return stopping_; });
  }
}

}  // namespace sbench::fuse
