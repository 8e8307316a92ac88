// plan.h: what a run will do, decided before anything is touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/injection.h"
#include "harness/variant.h"
#include "workloads/workload.h"

namespace sbench {

/// What the user asked `sbench run` for; kept in the result so that --resume can ask again.
struct RunRequest {
  std::vector<std::string> drivers;       ///< variants as typed; empty with all = every driver
  bool all = false;
  std::vector<std::string> workloads;     ///< families or workloads; empty: all
  std::string filter;                     ///< regular expression over case names
  std::string profile = "quick";
  std::vector<std::string> storage_opts;
  std::string device;                     ///< empty: embedded loop image
  std::string image_dir = "/var/tmp";
  std::string image_size = "8G";
  int blocks = 0;                         ///< 0: the profile's own number
  std::uint64_t budget_s = 0;             ///< 0: none
  std::uint64_t seed = 0;
  std::string image;                      ///< what workloads stand on (--image); empty: generated layers
  std::vector<std::string> dockerfiles;   ///< what cache_reuse.dockerfiles builds; empty: the shipped pair
  std::string run_steps = "replay";       ///< how its RUN steps are taken: replay or exec
  std::uint64_t run_limit_s = 600;        ///< the longest a step of exec may take
  std::string recordings;                 ///< folder exec leaves change sets in and replay takes them from; empty: neither
  std::string platform;                   ///< of the image; empty: this machine's
  std::string kind = "manual";            ///< "nightly" and the like, for history
  std::string in = "host";                ///< which kernel: host, or uml (guest/guest_run.h)
  bool rootless = false;                  ///< in a user namespace, on a folder instead of a device (backing=folder)
  std::string inject;                     ///< a slowdown on purpose (injection.h); empty: none
};

struct PlannedCase {
  const WorkloadSpec* workload = nullptr;
  Params params;
  /// workload/driver/param:value/…
  [[nodiscard]] std::string name(const Variant& variant) const;
};

/// A driver that was asked for and cannot run here.
struct PlannedSkip {
  Variant variant;
  std::string reason;
  std::string remedy;
};

struct PlannedVariant {
  Variant variant;
  EngineClass engine = EngineClass::kernel;
  bool requested = true;  ///< false: added as the control, or for the harness' own overhead
  std::vector<PlannedCase> cases;
};

struct Plan {
  std::vector<PlannedVariant> variants;  ///< in the order asked for; the control first
  std::vector<PlannedSkip> skips;
  int blocks = 0;
  std::uint64_t seed = 0;
  std::optional<Injection> injection;
  std::string control;                     ///< slug of the control
  std::shared_ptr<const BaseImage> image;  ///< null without --image
  [[nodiscard]] std::size_t samples() const;
  /// False when nothing of what was asked for can run.
  [[nodiscard]] bool worth_running() const;
};

/// Expands the request: adds the `native` control and `null` for the harness'
/// own overhead, probes every driver, builds the cases. Throws UsageError for
/// unknown drivers, options, workloads, profiles, bad expressions and images that cannot be used.
[[nodiscard]] Plan make_plan(const RunRequest& request);

/// The options a driver named without any has here: its defaults, or in a user namespace with backing=folder, which is all
/// that a run has there. `engine`: one of its engine option's values; empty: that option's default.
[[nodiscard]] Options options_here(const DriverSpec& spec, const std::string& engine = {});

[[nodiscard]] Profile parse_profile(const std::string& name);

/// The engine class of work done here: the kernel's is uml inside user-mode Linux.
[[nodiscard]] EngineClass actual_engine(EngineClass declared);

}  // namespace sbench
