// known_nodes.h: which nodes the kernel holds references to, and keeping those few.
//
// The kernel forgets a node only when it needs memory itself, so a walk over a
// million names would make the server hold a million nodes. Above `nodes_max`
// the oldest quarter is named in a notification, and the kernel drops those that
// nobody uses: FUSE_NOTIFY_PRUNE where it has that (Linux 6.18), else one
// FUSE_NOTIFY_INVAL_ENTRY for each file (directories, which somebody may stand
// in, then stay). The bound is nodes_max, plus nodes in use, plus what is
// looked up while a round runs (prune_batch of them).
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace sbench::fuse {

/// A node as the kernel knows it (open_files.h says how that differs from a NodeId).
using KernelNode = std::uint64_t;

class KnownNodes {
 public:
  struct Victim {
    KernelNode node = 0;
    KernelNode parent = 0;  ///< 0 where names are not kept
    std::string name;
  };
  using Prune = std::function<void(const std::vector<Victim>&)>;

  /// `prune` is called from a thread of this object's own, with no lock held.
  /// `keeps_names`: remember a name of each non-directory, for kernels without FUSE_NOTIFY_PRUNE.
  KnownNodes(std::size_t nodes_max, bool keeps_names, Prune prune);
  ~KnownNodes();
  KnownNodes(const KnownNodes&) = delete;
  KnownNodes& operator=(const KnownNodes&) = delete;

  /// The kernel was given a reference. `name` may be empty: not to be pruned by name.
  void add(KernelNode node, KernelNode parent, std::string_view name);
  /// The kernel gave references back. True when they were the last.
  bool forget(KernelNode node, std::uint64_t references);
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct Known {
    std::uint64_t references = 0;
    std::uint64_t age = 0;  ///< grows with time; refreshed when a prune did not free the node
    KernelNode parent = 0;
    std::string name;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<KernelNode, Known> nodes;
  };
  static constexpr std::size_t kShards = 16;

  Shard& shard_of(KernelNode node) { return shards_[(node ^ (node >> 7)) % kShards]; }
  [[nodiscard]] std::vector<Victim> choose_victims();
  void work();

  std::size_t nodes_max_;
  bool keeps_names_;
  Prune prune_;
  std::array<Shard, kShards> shards_;
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> clock_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool wanted_ = false;
  bool stopping_ = false;
  std::thread worker_;
};

}  // namespace sbench::fuse
