// patience.h: how the thread whose turn it is waits for the next request.
//
// Between two requests of one busy client lie microseconds; waking a thread that sleeps on
// another processor takes as long or much longer (a halted virtual processor). So after
// requests that came soon, the reader looks again for a while before it sleeps, and offers
// its processor to others at every look. Where another process wanted it, or the looks
// were in vain, it sleeps at once until requests come soon again.
#pragma once

#include <chrono>

namespace sbench::fuse {

/// Used by one thread at a time: the one that has the turn.
class Patience {
 public:
  /// A wait for a request begins.
  void begin();
  /// True: look for a request once more; false: sleep until one comes.
  [[nodiscard]] bool look_again();
  /// The request is there.
  void end();

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point begun_;
  Clock::time_point looked_;
  bool soon_ = false;    ///< the last request came soon
  int waits_to_sleep_ = 0;  ///< after somebody else wanted the processor
};

}  // namespace sbench::fuse
