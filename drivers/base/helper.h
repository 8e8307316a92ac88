// helper.h: processes that do a driver's work beside this one: FUSE servers above all.
//
// Every Helper is registered while it lives, so that what it costs can be
// accounted to its driver and a test can find it. Ending is always noticed
// through a pidfd: a number that was used again is never signalled.
//
// Threads: the functions may be called from any; one Helper belongs to one at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

class Helper {
 public:
  /// Takes over a child of this process that nobody else waits for. `name` as people know it: "aufs server".
  [[nodiscard]] static Result<Helper> of_child(pid_t pid, std::string name);
  /// A process that an earlier sbench left; `start_ticks` (start_ticks_of()) tells it from a later one
  /// of the same number. ESRCH when it is gone.
  [[nodiscard]] static Result<Helper> adopt(pid_t pid, std::uint64_t start_ticks, std::string name);

  Helper(Helper&&) noexcept;
  Helper& operator=(Helper&&) = delete;
  /// A child still alive is killed, unless it was left.
  ~Helper();

  [[nodiscard]] pid_t pid() const;
  [[nodiscard]] bool alive() const;
  /// Waits until it ended, at most `limit_ms`; false when it has not.
  [[nodiscard]] bool wait_end(int limit_ms) const;
  void kill() const;
  /// How it ended, when that was not by exit code 0: "was killed by signal 9 (Killed)". Adopted ones: always nothing.
  [[nodiscard]] std::optional<std::string> failure() const;
  /// It outlives this object, and this process.
  void leave();

  struct State;  ///< helper.cpp's

 private:
  explicit Helper(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

struct HelperInfo {
  pid_t pid = 0;
  std::string name;
};
/// Helpers that are alive now, oldest first.
[[nodiscard]] std::vector<HelperInfo> live_helpers();

/// One sentence ("aufs server (process 7) was killed by signal 9 (Killed)") for each helper that ended by
/// a signal or a non-zero exit code; each is handed out once.
[[nodiscard]] std::vector<std::string> take_failed_helpers();

/// Processor time of all helpers since this process began; never decreases, whatever starts and ends.
/// Children are counted from their start, adopted ones from their adoption.
struct HelperCpu {
  double user_s = 0;
  double sys_s = 0;
  /// The part of it that getrusage(RUSAGE_CHILDREN) counts as well: helpers waited for.
  double reaped_user_s = 0;
  double reaped_sys_s = 0;
};
[[nodiscard]] HelperCpu helper_cpu();

/// Memory of helpers; pages they share with this process (from the fork) are left out.
struct HelperMemory {
  std::uint64_t rss_bytes = 0;       ///< resident now
  std::uint64_t rss_peak_bytes = 0;  ///< largest sum of the peaks of those alive at once, since reset_helper_peak()
};
[[nodiscard]] HelperMemory helper_memory();
/// Starts the peak again from what is resident now.
void reset_helper_peak();

/// Field 22 of /proc/PID/stat: when the process started. 0 when there is none.
[[nodiscard]] std::uint64_t start_ticks_of(pid_t pid);

}  // namespace sbench
