// case_run.h: one case of a soak: the work, the fault in it, and the look at it afterwards.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/soak/faulty_file.h"
#include "harness/soak/plan.h"
#include "harness/soak/processes.h"
#include "harness/soak/traces.h"

namespace sbench::soak {

struct Finding {
  std::string kind;  ///< leak, hang, wrong_number, lost_bytes, result, unnamed
  std::string what;
};

struct CaseOutcome {
  bool hit = false;  ///< the fault happened while the work went on
  std::uint64_t later_kills = 0;  ///< of resumed runs and checks
  bool cleaned = false;  ///< something was left, and `sbench clean` removed it
  std::uint64_t acknowledged = 0;  ///< acknowledgements looked up afterwards
  std::uint64_t samples = 0;       ///< samples compared with the undisturbed run's
  long rss_max_kib = 0;
  std::vector<Finding> findings;
};

/// What an undisturbed run of the same work, driver and seed does.
struct Reference {
  double seconds = 0;
  std::map<std::string, nlohmann::json> samples;  ///< by case name: what does not depend on time
};

struct CaseContext {
  std::string program;
  std::uint64_t seed = 0;
  std::filesystem::path folder;  ///< of this case, empty
  FaultyDevice* device = nullptr;
  std::set<pid_t> own;           ///< processes of the soak itself
  std::chrono::seconds hang_after{120};
};

/// ENOTSUP: the driver fails sbench's semantic check, so that nothing of it is ever timed.
[[nodiscard]] Result<Reference> undisturbed(const SoakCase& each, const CaseContext& context);
[[nodiscard]] Result<CaseOutcome> run_case(const SoakCase& each, const Reference& reference,
                                           const CaseContext& context);

}  // namespace sbench::soak
