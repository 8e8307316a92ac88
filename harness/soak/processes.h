// processes.h: the processes of one case, from the outside: started, watched, seen in /proc, and never waited for
// without end.
//
// The soak is the reaper of all that its children leave, so what a case leaves behind is what descends from this
// process when the case is over.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::soak {

/// Orphans of this process' descendants become its children from now on.
[[nodiscard]] Status become_reaper();

struct Ended {
  int exit_code = -1;  ///< -1: by a signal
  int signal = 0;
  long rss_max_kib = 0;
};

class Child {
 public:
  /// stdout and stderr go to files. `environment`, NAME=VALUE, is added to this process' own.
  [[nodiscard]] static Result<Child> start(const std::vector<std::string>& argv, const std::filesystem::path& out,
                                           const std::filesystem::path& err,
                                           const std::vector<std::string>& environment = {});
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Looks, without waiting, whether it ended.
  [[nodiscard]] bool ended(Ended& how);

 private:
  explicit Child(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  bool reaped_ = false;
  Ended how_;
};

/// All processes that descend from `ancestor`, not itself and not those in `without`; zombies left out.
[[nodiscard]] std::vector<pid_t> descendants(pid_t ancestor, const std::set<pid_t>& without = {});
/// "sbench-aufs (7)".
[[nodiscard]] std::string describe_process(pid_t pid);
/// Collects what ended among the descendants, except `without`.
void reap(const std::set<pid_t>& without);

/// Every thread of the processes: state, where it waits in the kernel, its kernel stack, and gdb's backtrace where
/// there is a gdb and the process can be stopped.
[[nodiscard]] std::string dump_stacks(const std::vector<pid_t>& pids);

/// Memory of this process' own, KiB: resident, without pages of its program file, which come as they are first used.
[[nodiscard]] long own_memory_kib();

}  // namespace sbench::soak
