// runner.h: carries a plan out: blocks, drivers, cases, samples.
#pragma once

#include <filesystem>
#include <string>

#include "harness/console.h"
#include "harness/plan.h"
#include "harness/progress.h"
#include "harness/recorder.h"
#include "harness/session.h"

namespace sbench {

struct RunOutcome {
  int blocks_done = 0;
  bool complete = false;
  int signal = 0;  ///< SIGINT or SIGTERM when one ended the run early
  bool all_refused = false;  ///< it was carried out, and every case said why it cannot run here
};

/// Runs what `recorder` does not hold yet. Every block formats every driver
/// afresh, in an order drawn from the seed; results are on disk after each case.
/// Stops between cases on SIGINT, SIGTERM, or when another driver's turn would
/// exceed the budget. An Error means the run itself cannot go on (the device,
/// the result directory); a case that fails is recorded and the run continues.
[[nodiscard]] Result<RunOutcome> carry_out(const Plan& plan, std::uint64_t budget_s, Device& device, Session& session,
                                           Recorder& recorder, Progress& progress);

/// Everything known before the first sample: what Recorder::create wants.
[[nodiscard]] nlohmann::json run_header(const RunRequest& request, const Plan& plan, const Device& device,
                                        const std::string& command);

[[nodiscard]] nlohmann::json request_json(const RunRequest& request);
/// Throws nlohmann::json::exception when `value` is not a request.
[[nodiscard]] RunRequest request_from_json(const nlohmann::json& value);

}  // namespace sbench
