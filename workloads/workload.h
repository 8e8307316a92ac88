// workload.h: what a workload declares. One file a workload; it registers itself.
//
//   namespace {
//   Status run(Case& c) { ... }
//   const RegisterWorkload kRegistered{{
//       .name = "copy_up.first_write", .summary = "...", .version = 1, ...
//       .params = {{"size", "bytes of the lower file", {{"64K"}, {"64K", "64M"}, ...}}},
//       .run = run}};
//   }
//
// Names are family.case: `--workload copy_up` selects a family, `--workload
// copy_up.first_write` one workload. Case names are workload/driver/param:value/….
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "workloads/case.h"

namespace sbench {

/// How much is run. smoke: seconds, for tests; quick: minutes; standard: an hour; full: everything.
enum class Profile { smoke, quick, standard, full };
inline constexpr std::size_t kProfiles = 4;

struct ParamSpec {
  std::string name;     ///< [a-z0-9_]+
  std::string summary;  ///< one line
  /// Values by profile, each [a-z0-9._-]+ after lower-casing of the case name.
  std::array<std::vector<std::string>, kProfiles> values;
};

struct WorkloadSpec {
  std::string name;     ///< "family.case", [a-z0-9_.]+
  std::string summary;  ///< one line
  int version = 1;      ///< raised whenever results stop being comparable
  std::string cache;       ///< "cold", "warm" or the name of the parameter that says so
  std::string durability;  ///< "none", "fsync-per-op" or "sync-at-end"
  std::vector<ParamSpec> params;
  /// Cases are the cross product of all values for which this holds (empty: all).
  std::function<bool(const Params&, Profile)> keep;
  /// False: drivers without stores_layers (`null`) skip it. True only for the harness' own overhead.
  bool runs_on_null = false;
  std::function<Status(Case&)> run;
};

struct RegisterWorkload {
  explicit RegisterWorkload(WorkloadSpec spec);
};

/// All workloads, sorted by name.
[[nodiscard]] const std::vector<WorkloadSpec>& workload_registry();

/// The parameter sets of `spec` at `profile`.
[[nodiscard]] std::vector<Params> expand_params(const WorkloadSpec& spec, Profile profile);

}  // namespace sbench
