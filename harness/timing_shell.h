// timing_shell.h: Google Benchmark, used the way that is safe on 1.7.1.
//
// One benchmark is registered at a time, runs one iteration with manual time,
// and is taken away again: sbench orders the samples, Google Benchmark times
// them. No Repetitions (a skipped one crashes released versions), no Threads
// (1.7.1 divides their time), no file output (sbench writes its own).
#pragma once

#include <functional>
#include <string>

#include "drivers/base/result.h"

namespace sbench {

struct ShellTiming {
  double real_s = 0;          ///< the manual time, as Google Benchmark reports it
  std::int64_t iterations = 0;  ///< 1
};

/// Runs `body` once as the benchmark `name`. `body` stores the seconds that
/// count into its argument; its Error is returned and no timing is made.
[[nodiscard]] Result<ShellTiming> time_once(const std::string& name, const std::function<Status(double&)>& body);

}  // namespace sbench
