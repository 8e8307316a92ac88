// patience.h: how long readers of requests look for the next one before they sleep.
//
// Between two requests of one busy client lie microseconds; waking a thread that sleeps on
// another processor takes as long or much longer (a halted virtual processor). So after
// requests that came soon, the reader looks again for a while before it sleeps, and offers
// its processor to others at every look. Where the looks were in vain, it sleeps at once
// until requests come soon again; where another process wanted the processor, for a number
// of waits that doubles each time (a look there costs a time slice of somebody's).
//
// A second thread, the companion, looks along as long as the reader does: one of the two is
// then awake on the client's own processor, and neither the request nor the answer has to
// wake a halted one.
#pragma once

#include <atomic>
#include <chrono>

namespace sbench::fuse {

class Patience {
 public:
  Patience();

  // The thread that has the turn:
  /// A wait for a request begins.
  void begin();
  /// True: look for a request once more; false: sleep until one comes.
  [[nodiscard]] bool look_again();
  /// The request is there.
  void end();

  // The companion:
  /// Sleeps until the reader looks; false: stop() was called.
  [[nodiscard]] bool wait_for_looks();
  [[nodiscard]] bool looks() const { return state_.load(std::memory_order_acquire) == kLooks; }
  /// It got a request: the reader need not think that none comes.
  void saw_one() { seen_.store(true, std::memory_order_relaxed); }
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  enum State : int { kSleeps, kLooks, kStopped };

  std::atomic<int> state_{kSleeps};
  std::atomic<bool> seen_{false};
  Clock::time_point begun_;
  Clock::time_point looked_;
  bool soon_ = false;       ///< the last request came soon
  bool taken_ = false;      ///< somebody else wanted the processor in this wait
  int waits_to_sleep_ = 0;  ///< are left, after somebody wanted it
  int waits_next_;          ///< to sleep when somebody wants it again
};

}  // namespace sbench::fuse
