#include "harness/runner.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "drivers/base/helper.h"
#include "drivers/base/units.h"
#include "harness/guest/guest_disk.h"
#include "harness/semantic_check.h"
#include "harness/stop_on_signal.h"
#include "harness/timing_shell.h"

namespace sbench {
namespace {

using nlohmann::json;

double seconds_since(std::uint64_t start_ns) { return static_cast<double>(Case::clock_ns() - start_ns) * 1e-9; }

/// One run of a plan; keeps what its parts share.
class Runner {
 public:
  Runner(const Plan& plan, std::uint64_t budget_s, Device& device, Session& session, Recorder& recorder,
         Progress& progress)
      : plan_(plan),
        budget_s_(budget_s),
        device_(device),
        session_(session),
        recorder_(recorder),
        progress_(progress) {}

  Result<RunOutcome> run();

 private:
  /// All cases of one driver in one block, on a store formatted for them.
  [[nodiscard]] Status take_turn(int block, const PlannedVariant& planned, int& order);
  [[nodiscard]] Status check_semantics(const PlannedVariant& planned);
  [[nodiscard]] json fuse_cost(const Variant& variant);
  [[nodiscard]] Result<std::unique_ptr<Store>> fresh_store(const PlannedVariant& planned);
  [[nodiscard]] Status take_sample(Store& store, int block, const PlannedVariant& planned, const PlannedCase& each,
                                   int order, unsigned serial);
  [[nodiscard]] Status fail(const std::string& cell, int block, const std::string& phase, const Error& error);
  [[nodiscard]] std::vector<const PlannedCase*> missing_cases(int block, const PlannedVariant& planned) const;
  [[nodiscard]] bool over_budget(const PlannedVariant& planned) const;

  const Plan& plan_;
  std::uint64_t budget_s_;
  Device& device_;
  Session& session_;
  Recorder& recorder_;
  Progress& progress_;
  std::uint64_t start_ns_ = Case::clock_ns();
  std::map<std::string, double> turn_cost_s_;
  std::set<std::string> checked_;
  std::set<std::string> broken_;
  bool refused_ = false;  ///< a case said why it cannot run here
  unsigned roots_ = 0;
};

std::vector<const PlannedCase*> Runner::missing_cases(int block, const PlannedVariant& planned) const {
  std::vector<const PlannedCase*> missing;
  for (const auto& each : planned.cases) {
    if (recorder_.has_sample(each.name(planned.variant), block)) {
      progress_.sample_kept();
    } else {
      missing.push_back(&each);
    }
  }
  Rng rng(plan_.seed, fmt::format("cases/{}/{}", block, planned.variant.slug));
  rng.shuffle(missing);
  return missing;
}

bool Runner::over_budget(const PlannedVariant& planned) const {
  const auto cost = turn_cost_s_.find(planned.variant.slug);
  const double expected_s = cost == turn_cost_s_.end() ? 0 : cost->second;
  return budget_s_ > 0 && seconds_since(start_ns_) + expected_s > static_cast<double>(budget_s_);
}

Status Runner::fail(const std::string& cell, int block, const std::string& phase, const Error& error) {
  std::string detail = error.what;
  for (const auto& helper : take_failed_helpers()) {  // why the calls failed
    detail += "; the " + helper;
  }
  progress_.message(fmt::format("FAILED {} ({}): {}", cell, phase, detail));
  return recorder_.add_failure(
      {{"cell", cell}, {"block", block}, {"phase", phase}, {"errno", error.code}, {"detail", detail}});
}

Result<std::unique_ptr<Store>> Runner::fresh_store(const PlannedVariant& planned) {
  SBENCH_TRY(device_.claim());
  SBENCH_TRY(discard_whole(device_));
  SBENCH_TRY(planned.variant.spec->format(device_, planned.variant.options));
  // Not the slug: ext4 writes a mount point of up to 63 bytes into its superblock, through the journal, at the first open.
  // Variants of one driver must not differ in that by the length of their options.
  SBENCH_TRY_SET(const auto root, session_.make_root(fmt::format("{}-{}", planned.variant.spec->name, ++roots_)));
  return Store::open(device_, planned.variant, root);
}

/// Measured beside the run, for the report; without it the run goes on.
json Runner::fuse_cost(const Variant& variant) {
  json rows = json::array();
  const auto root = session_.make_root("fuse-cost");
  const auto costs = root.ok() ? variant.spec->fuse_cost(variant.options, *root) : Result<std::vector<FuseCost>>(root.error());
  if (!costs.ok()) {
    progress_.message(fmt::format("{}: what FUSE costs was not measured: {}", variant.slug, costs.error().what));
    return rows;
  }
  for (const auto& each : *costs) {
    rows.push_back({{"operation", each.operation}, {"in_process_us", each.in_process_us}, {"mounted_us", each.mounted_us}});
  }
  return rows;
}

Status Runner::check_semantics(const PlannedVariant& planned) {
  const std::string& slug = planned.variant.slug;
  if (!planned.variant.spec->capabilities.stores_layers || !checked_.insert(slug).second) {
    return {};
  }
  SBENCH_TRY_SET(const auto store, fresh_store(planned));
  SBENCH_TRY_SET(const auto found,
                 semantic_check(store->driver(), plan_.seed, known_deviations(planned.variant.spec->name)));
  const auto& differences = found.differences;
  json facts = {{"semantic_check", differences.empty() ? "passed" : "failed"}, {"differences", differences}};
  facts["deviations"] = json::array();
  for (const Deviation deviation : found.deviations) {
    facts["deviations"].push_back(to_string(deviation));
  }
  facts["status"] = json::array();
  for (const auto& [name, value] : store->driver().status()) {
    facts["status"].push_back({name, value});
  }
  if (planned.variant.spec->fuse_cost) {
    facts["fuse_cost"] = fuse_cost(planned.variant);
  }
  SBENCH_TRY(recorder_.add_driver(slug, facts));
  if (!differences.empty()) {
    broken_.insert(slug);
    progress_.message(fmt::format("{} failed the semantic check and is not timed: {}", slug, differences.front()));
  } else if (!found.deviations.empty()) {
    progress_.message(fmt::format("{} is timed in spite of what it is known for: {}", slug,
                                  fmt::join(facts["deviations"].get<std::vector<std::string>>(), "; ")));
  }
  return {};
}

Status Runner::take_sample(Store& store, int block, const PlannedVariant& planned, const PlannedCase& each, int order,
                           unsigned serial) {
  const std::string name = each.name(planned.variant);
  const std::uint64_t sample_start_ns = Case::clock_ns();
  LiveCase live(store, each.params, plan_.seed, serial, plan_.image.get());
  if (plan_.injection && plan_.injection->hits(name)) {
    live.inject(*plan_.injection);
  }
  Status status = live.begin();
  double shell_real_s = 0;
  if (status.ok()) {
    const auto timing = time_once(name, [&](double& real_s) {
      Status ran = each.workload->run(live);
      real_s = live.sample().real_s;
      return ran;
    });
    status = timing.ok() ? live.end() : Status(timing.error());
    shell_real_s = timing.ok() ? timing->real_s : 0;
  }
  if (status.ok()) {
    if (const auto failed = take_failed_helpers(); !failed.empty()) {
      status = plain_error(EIO, "the {}", fmt::join(failed, "; the "));  // though the workload did not notice
    }
  }
  if (status.ok()) {
    SBENCH_TRY(recorder_.add_sample(sample_entry(live.sample(), planned, each, block, order, shell_real_s)));
  } else if (live.refusal()) {
    refused_ = true;
    progress_.message(fmt::format("skipping {}: {}; {}", name, live.refusal()->reason, live.refusal()->remedy));
    SBENCH_TRY(recorder_.add_skip({{"driver", planned.variant.slug},
                                   {"cell", name},
                                   {"code", "cannot_run_here"},
                                   {"detail", live.refusal()->reason},
                                   {"remedy", live.refusal()->remedy}}));
  } else {
    SBENCH_TRY(fail(name, block, "run", status.error()));
  }
  progress_.sample_done(block, name, shell_real_s, seconds_since(sample_start_ns),
                        status.ok()      ? Progress::Outcome::measured
                        : live.refusal() ? Progress::Outcome::skipped
                                         : Progress::Outcome::failed);
  return {};
}

Status Runner::take_turn(int block, const PlannedVariant& planned, int& order) {
  const auto cases = missing_cases(block, planned);
  if (cases.empty()) {
    return {};
  }
  const std::uint64_t turn_start_ns = Case::clock_ns();
  const std::string& slug = planned.variant.slug;
  const Status checked = check_semantics(planned);
  if (!checked.ok()) {
    broken_.insert(slug);
    return fail(slug, block, "semantic check", checked.error());
  }
  if (broken_.contains(slug)) {
    return {};
  }
  auto store = fresh_store(planned);
  if (!store.ok()) {
    return fail(slug, block, "format", store.error());
  }
  unsigned serial = 0;
  for (const auto* each : cases) {
    if (StopOnSignal::signal_number() != 0) {
      break;
    }
    SBENCH_TRY(take_sample(**store, block, planned, *each, order++, ++serial));
  }
  store->reset();
  turn_cost_s_[slug] = seconds_since(turn_start_ns);
  return {};
}

Result<RunOutcome> Runner::run() {
  const StopOnSignal stop_on_signal;
  RunOutcome outcome;
  bool out_of_time = false;
  for (int block = 0; block < plan_.blocks && StopOnSignal::signal_number() == 0 && !out_of_time; ++block) {
    std::vector<std::size_t> turns(plan_.variants.size());
    std::iota(turns.begin(), turns.end(), 0);
    Rng rng(plan_.seed, fmt::format("order/{}", block));
    rng.shuffle(turns);
    int order = 0;
    for (const std::size_t turn : turns) {
      const PlannedVariant& planned = plan_.variants[turn];
      out_of_time = over_budget(planned);
      if (StopOnSignal::signal_number() != 0 || out_of_time) {
        break;
      }
      SBENCH_TRY(take_turn(block, planned, order));
      SBENCH_TRY(recorder_.assemble(block, false));
    }
    if (StopOnSignal::signal_number() == 0 && !out_of_time) {
      outcome.blocks_done = block + 1;
    }
  }
  outcome.signal = StopOnSignal::signal_number();
  outcome.complete = outcome.blocks_done == plan_.blocks;
  outcome.all_refused = outcome.complete && refused_ && broken_.empty() && recorder_.samples() == 0 && recorder_.failures() == 0;
  if (out_of_time) {
    progress_.message(fmt::format("budget of {} used up after {} of {} blocks; finish with --resume",
                                  human_duration(static_cast<double>(budget_s_)), outcome.blocks_done, plan_.blocks));
  }
  SBENCH_TRY(recorder_.assemble(outcome.blocks_done, outcome.complete));
  return outcome;
}

}  // namespace

Result<RunOutcome> carry_out(const Plan& plan, std::uint64_t budget_s, Device& device, Session& session,
                             Recorder& recorder, Progress& progress) {
  return Runner(plan, budget_s, device, session, recorder, progress).run();
}

}  // namespace sbench
