// guard_process.h: a small process that outlives this one just long enough to clean up.
//
// A user-mode kernel is a group of processes; only its first can be made to die
// with us. A soak, and a run without root, have a folder that nobody else would remove. The guard waits for the end of a
// pipe that this process holds: when that comes without a farewell, it kills the group and deletes the folder.
// It ignores the terminal's signals, and has no other task.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

#include "drivers/base/privileges.h"

namespace sbench {

/// What a guard keeps: to end what it watches, and to remove a folder with files of several owners.
inline constexpr CapabilitySet kGuardCapabilities{CAP_KILL, CAP_DAC_OVERRIDE, CAP_FOWNER};

class GuardProcess {
 public:
  /// Call it while this process has one thread.
  [[nodiscard]] static Result<std::unique_ptr<GuardProcess>> start(const std::filesystem::path& directory);
  /// Bids farewell: the guard leaves, and touches nothing.
  ~GuardProcess();
  GuardProcess(const GuardProcess&) = delete;
  GuardProcess& operator=(const GuardProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// From now on the group is to die with this process.
  void watch(pid_t group);

 private:
  GuardProcess(pid_t pid, Fd line) : pid_(pid), line_(std::move(line)) {}
  pid_t pid_;
  Fd line_;
};

}  // namespace sbench
