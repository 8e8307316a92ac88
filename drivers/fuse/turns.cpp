#include "drivers/fuse/turns.h"

#include <algorithm>
#include <chrono>

namespace sbench::fuse {

namespace {
using std::chrono::milliseconds;
constexpr milliseconds kLong{2};       ///< a short request that took this long is relieved at the second look
constexpr milliseconds kLookIdle{64};  ///< between looks at a session without requests
}  // namespace

Turns::Turns() : relief_([this] { watch(); }) {}

Turns::~Turns() {
  {
    const std::lock_guard hold(lock_);
    ends_ = true;
  }
  ending_.notify_all();
  relief_.join();
}

void Turns::take() {
  std::unique_lock hold(lock_);
  freed_.wait(hold, [this] { return free_; });
  free_ = false;
}

void Turns::pass() {
  {
    const std::lock_guard hold(lock_);
    free_ = true;
  }
  freed_.notify_one();
}

void Turns::watch() {
  std::uint64_t seen = 0;
  milliseconds look = kLookIdle;
  std::unique_lock hold(lock_);
  while (!ending_.wait_for(hold, look, [this] { return ends_; })) {
    std::uint64_t state = state_.load(std::memory_order_acquire);
    look = state == seen ? std::min(look * 2, kLookIdle) : kLong;
    const bool busy = state % 2 == 1;
    if (busy && state == seen && state_.compare_exchange_strong(state, state + 1, std::memory_order_acq_rel)) {
      free_ = true;
      freed_.notify_one();
    }
    seen = state;
  }
}

}  // namespace sbench::fuse
