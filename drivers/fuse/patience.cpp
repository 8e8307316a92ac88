#include "drivers/fuse/patience.h"

#include <sched.h>

#include <algorithm>

namespace sbench::fuse {

namespace {
using std::chrono::microseconds;
constexpr microseconds kLook{50};    ///< how long a reader looks
constexpr microseconds kSoon{150};   ///< a sleep no longer than this was not worth it: waking up is most of it
constexpr microseconds kTaken{200};  ///< offering the processor took this long: somebody worked on it
constexpr int kWaitsAfterTakenMin = 8;
constexpr int kWaitsAfterTakenMax = 1024;
}  // namespace

Patience::Patience() : waits_next_(kWaitsAfterTakenMin) {}

void Patience::begin() {
  begun_ = looked_ = Clock::now();
  taken_ = false;
  if (waits_to_sleep_ > 0) {
    --waits_to_sleep_;
  }
}

bool Patience::look_again() {
  if (seen_.load(std::memory_order_relaxed)) {
    seen_.store(false, std::memory_order_relaxed);
    begun_ = looked_;
  }
  if (!soon_ || waits_to_sleep_ > 0 || looked_ - begun_ > kLook) {
    int looks = kLooks;
    state_.compare_exchange_strong(looks, kSleeps, std::memory_order_acq_rel);
    return false;
  }
  int sleeps = kSleeps;
  if (state_.load(std::memory_order_relaxed) == kSleeps &&
      state_.compare_exchange_strong(sleeps, kLooks, std::memory_order_acq_rel)) {
    state_.notify_one();
  }
  ::sched_yield();
  const auto now = Clock::now();
  if (now - looked_ > kTaken && !taken_) {
    taken_ = true;
    waits_to_sleep_ = waits_next_;
    waits_next_ = std::min(waits_next_ * 2, kWaitsAfterTakenMax);
  }
  looked_ = now;
  return true;
}

void Patience::end() {
  soon_ = Clock::now() - begun_ < kSoon;
  if (looked_ != begun_ && !taken_) {
    waits_next_ = std::max(waits_next_ / 2, kWaitsAfterTakenMin);
  }
}

bool Patience::wait_for_looks() {
  state_.wait(kSleeps, std::memory_order_acquire);
  return state_.load(std::memory_order_acquire) != kStopped;
}

void Patience::stop() {
  state_.store(kStopped, std::memory_order_release);
  state_.notify_all();
}

}  // namespace sbench::fuse
