// gate.h: letting requests in, and holding them off while something needs the pool to itself.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace sbench::thin_pool {

/// Any number of passers, or one who closed it. Waiting to close keeps new passers out.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) { gate.enter(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() { gate_.leave(); }

   private:
    Gate& gate_;
  };
  /// Everybody who was inside has left, until this object goes.
  class Closed {
   public:
    explicit Closed(Gate& gate) : gate_(gate) { gate.close(); }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    ~Closed() { gate_.open(); }

   private:
    Gate& gate_;
  };

 private:
  void enter() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !closed_; });
    ++inside_;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0 && closed_) {
      changed_.notify_all();
    }
  }
  void close() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !closed_; });
    closed_ = true;
    changed_.wait(lock, [this] { return inside_ == 0; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t inside_ = 0;
  bool closed_ = false;
};

/// One request at a time allocates or copies a chunk. Taken in ascending order, so that nobody waits in a circle.
class ChunkLocks {
 public:
  using Chunk = std::pair<std::uint32_t, std::uint64_t>;  ///< device, chunk

  class Hold {
   public:
    Hold(ChunkLocks& locks, std::vector<Chunk> chunks) : locks_(locks), chunks_(std::move(chunks)) {
      std::sort(chunks_.begin(), chunks_.end());
      for (const Chunk& chunk : chunks_) {
        locks_.take(chunk);
      }
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { locks_.give(chunks_); }

   private:
    ChunkLocks& locks_;
    std::vector<Chunk> chunks_;
  };

 private:
  void take(const Chunk& chunk) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !taken_.contains(chunk); });
    taken_.insert(chunk);
  }
  void give(const std::vector<Chunk>& chunks) {
    const std::lock_guard lock(mutex_);
    for (const Chunk& chunk : chunks) {
      taken_.erase(chunk);
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Chunk> taken_;
};

}  // namespace sbench::thin_pool
