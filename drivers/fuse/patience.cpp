#include "drivers/fuse/patience.h"

#include <sched.h>

namespace sbench::fuse {

namespace {
using std::chrono::microseconds;
constexpr microseconds kLook{50};     ///< how long a reader looks
constexpr microseconds kSoon{150};    ///< a sleep no longer than this was not worth it: waking up is most of it
constexpr microseconds kTaken{200};    ///< offering the processor took this long: somebody worked on it
constexpr int kWaitsAfterTaken = 32;
}  // namespace

void Patience::begin() {
  begun_ = looked_ = Clock::now();
  if (waits_to_sleep_ > 0) {
    --waits_to_sleep_;
  }
}

bool Patience::look_again() {
  if (!soon_ || waits_to_sleep_ > 0 || looked_ - begun_ > kLook) {
    return false;
  }
  ::sched_yield();
  const auto now = Clock::now();
  if (now - looked_ > kTaken) {
    waits_to_sleep_ = kWaitsAfterTaken;
  }
  looked_ = now;
  return true;
}

void Patience::end() { soon_ = Clock::now() - begun_ < kSoon; }

}  // namespace sbench::fuse
