// guest_run.h: `sbench run --in uml`: the run happens inside user-mode Linux, its result outside.
//
// The guest runs this same program with the same request on /dev/ubda, a sparse
// image without a name in --image-dir, and writes its result straight into the
// output folder. Reports are drawn by the host: inside, that would take minutes.
#pragma once

#include <filesystem>
#include <string>

#include "harness/console.h"
#include "harness/plan.h"

namespace sbench {

struct GuestRun {
  RunRequest request;
  std::filesystem::path output;
  bool resume = false;
  bool dry_run = false;
  std::string progress;  ///< resolved: what "auto" means is the host's terminal's affair
  std::string command;   ///< as typed, for the record
};

/// Whether this process is the inner half of such a run.
[[nodiscard]] bool is_inner_run(const RunRequest& request);

/// Environment variable with the command that was typed outside.
inline constexpr const char* kTypedCommand = "SBENCH_TYPED_COMMAND";

/// Carries the run out and returns the inner sbench's exit code; what it printed went to
/// `console`. Errors as run_in_uml(). Throws UsageError for requests that make no sense inside.
[[nodiscard]] Result<int> measure_in_uml(const GuestRun& run, Console& console);

}  // namespace sbench
