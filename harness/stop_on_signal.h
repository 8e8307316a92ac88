// stop_on_signal.h: the first SIGINT or SIGTERM asks to stop between cases, a second one kills.
#pragma once

#include <signal.h>

#include <csignal>

namespace sbench {

/// One at a time in a process.
class StopOnSignal {
 public:
  /// `flags`: of sigaction(2), besides SA_RESETHAND.
  explicit StopOnSignal(int flags = 0) {
    number_ = 0;
    struct sigaction action {};
    action.sa_handler = [](int number) { number_ = number; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | flags;
    ::sigaction(SIGINT, &action, &before_int_);
    ::sigaction(SIGTERM, &action, &before_term_);
  }
  ~StopOnSignal() {
    ::sigaction(SIGINT, &before_int_, nullptr);
    ::sigaction(SIGTERM, &before_term_, nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  /// The signal that came since the newest StopOnSignal was made; 0: none.
  [[nodiscard]] static int signal_number() { return number_; }

 private:
  static inline volatile std::sig_atomic_t number_ = 0;
  struct sigaction before_int_ {};
  struct sigaction before_term_ {};
};

}  // namespace sbench
