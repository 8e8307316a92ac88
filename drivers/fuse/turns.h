// turns.h: whose turn it is to read the next request, when several threads serve one session.
//
// The kernel wakes readers of /dev/fuse in the order they came, so with all threads
// waiting there every request of one client would wake another, cold, thread. Here one
// thread reads. It keeps its turn through short requests, so that one client is always
// served by one warm thread, and passes it on before long ones, and as soon as
// requests queue up: then all threads work.
//
// A short request that turns out long (a slow device, a huge file deleted) would
// hold everybody up: the relief takes the turn away from it within milliseconds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace sbench::fuse {

/// Any number of threads.
class Turns {
 public:
  Turns();
  ~Turns();

  /// Waits until the calling thread is the one that reads.
  void take();
  /// Lets another thread read; the caller had the turn.
  void pass();

  /// Names one short request.
  using Ticket = std::uint64_t;
  /// The caller keeps its turn while it works on a request that should be short.
  [[nodiscard]] Ticket begin_short() { return state_.fetch_add(1, std::memory_order_acq_rel) + 1; }
  /// True when the turn is still the caller's; false: the relief took it away, take() again.
  [[nodiscard]] bool end_short(Ticket ticket) {
    return state_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel);
  }

 private:
  void watch();

  std::atomic<std::uint64_t> state_{0};  ///< odd while a short request is worked on; never the same twice
  std::mutex lock_;
  std::condition_variable freed_;
  bool free_ = true;
  bool ends_ = false;
  std::condition_variable ending_;
  std::thread relief_;
};

}  // namespace sbench::fuse
