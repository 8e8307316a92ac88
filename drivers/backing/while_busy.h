// while_busy.h: what somebody's last close, on its way, refuses for a moment is tried again.
#pragma once

#include <cerrno>
#include <chrono>
#include <thread>

#include "drivers/base/result.h"

namespace sbench {

/// Calls `attempt` (→ Status) every `step_ms` until it is no longer EBUSY, or for `patience_ms`; its last outcome.
template <typename Attempt>
[[nodiscard]] Status while_busy(int patience_ms, int step_ms, Attempt&& attempt) {
  for (int waited_ms = 0;; waited_ms += step_ms) {
    Status done = attempt();
    if (done.ok() || done.error().code != EBUSY || waited_ms >= patience_ms) {
      return done;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(step_ms));
  }
}

}  // namespace sbench
