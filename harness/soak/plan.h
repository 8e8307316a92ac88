// plan.h: what the cases of a soak are made of: drivers, work, faults.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "drivers/base/rng.h"

namespace sbench::soak {

enum class Fault {
  kill_harness,    ///< SIGKILL of the sbench program
  kill_helper,     ///< SIGKILL of one of its servers, guards or tools
  device_full,     ///< no room below the device: ENOSPC
  read_error,      ///< EIO for reads of chosen sectors
  write_error,     ///< EIO for writes and discards of chosen sectors
  flush_error,     ///< EIO for flushes
  slow_device,     ///< every request takes milliseconds more
  device_removed,  ///< every request fails
  read_only,       ///< EROFS for every write, as of a disk with its write protection on
  remount_read_only,  ///< one of the driver's mounted file systems is remounted read-only
  clock_step,      ///< the wall clock is set forward or back
  memory_limit,    ///< no more address space for the program and its helpers
};
inline constexpr std::array kFaults = {
    Fault::kill_harness,   Fault::kill_helper, Fault::device_full,       Fault::read_error,  Fault::write_error, Fault::flush_error,
    Fault::slow_device, Fault::device_removed, Fault::read_only, Fault::remount_read_only, Fault::clock_step, Fault::memory_limit};
[[nodiscard]] const char* to_string(Fault fault);
/// Whether the device is what breaks: then the case counts when requests met it.
[[nodiscard]] bool is_of_device(Fault fault);
[[nodiscard]] inline bool is_kill(Fault fault) { return fault == Fault::kill_harness || fault == Fault::kill_helper; }

/// What goes on while the fault comes.
enum class Work {
  run,    ///< `sbench run` of one workload; afterwards its result is taken up again and compared
  store,  ///< acknowledged writes through the driver's interface; afterwards they are looked for
};

struct SoakCase {
  std::uint64_t number = 0;
  std::string driver;  ///< as --driver takes it
  Work work = Work::run;
  std::string workload;  ///< of Work::run: its name and, after a space, what of its cases
  Fault fault = Fault::kill_harness;
  double moment = 0;       ///< of the work's usual time, 0 to 1
  double window = 1;       ///< share of the work's usual time after which the fault ends
  bool whole_device = false;  ///< or sectors around those used last
  std::uint64_t amount = 0;   ///< fault's own: bytes of room, of the range, microseconds, seconds (a step back when odd)
  std::vector<double> later_moments;  ///< when what goes on after the first kill is killed, too
};

/// Whether this program can do it: for clock_step it must find its library.
[[nodiscard]] bool can_do(Fault fault);
/// Every driver with each engine that can run here, as --driver takes it.
[[nodiscard]] std::vector<std::string> drivers_here();
/// Short workloads that a case may run. `driver` null has one of its own.
[[nodiscard]] const std::vector<std::string>& workloads_for(const std::string& driver);
/// Draws what the case of this number does; kills or faults as asked.
[[nodiscard]] SoakCase draw_case(std::uint64_t number, const std::string& driver, bool kill, Rng& rng);

}  // namespace sbench::soak
