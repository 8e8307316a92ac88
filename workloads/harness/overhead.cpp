// overhead.cpp: what the harness itself costs per operation and per phase, measured with nothing in them.
#include "workloads/workload.h"

namespace sbench {
namespace {

constexpr std::uint64_t kPhases = 100;

Status run(Case& c) {
  const std::uint64_t operations = c.params().number("operations");
  std::uint64_t body_runs = 0;
  std::uint64_t start_ns = Case::clock_ns();
  SBENCH_TRY(c.timed("operations", [&]() -> Status {
    for (std::uint64_t i = 0; i < operations; ++i) {
      SBENCH_TRY(c.op("empty", [&]() -> Status {
        ++body_runs;
        return {};
      }));
    }
    return {};
  }));
  const std::uint64_t operations_ns = Case::clock_ns() - start_ns;

  std::uint64_t phase_runs = 0;
  start_ns = Case::clock_ns();
  for (std::uint64_t i = 0; i < kPhases; ++i) {
    SBENCH_TRY(c.timed("phase", [&]() -> Status {
      ++phase_runs;
      return {};
    }));
  }
  const std::uint64_t phases_ns = Case::clock_ns() - start_ns;
  c.metric("overhead_operation_ns", static_cast<double>(operations_ns) / static_cast<double>(operations));
  c.metric("overhead_phase_ns", static_cast<double>(phases_ns) / static_cast<double>(kPhases));
  return verify(body_runs == operations && phase_runs == kPhases, "every operation and phase ran once");
}

const RegisterWorkload kRegistered{{
    .name = "harness.overhead",
    .summary = "empty operations and phases: what measuring itself costs",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"operations", "empty operations", {{{"1000"}, {"10000"}, {"10000"}, {"100000"}}}}},
    .runs_on_null = true,
    .run = run,
}};

}  // namespace
}  // namespace sbench
