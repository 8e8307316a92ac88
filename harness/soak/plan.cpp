#include "harness/soak/plan.h"

#include <algorithm>

#include "drivers/base/units.h"
#include "harness/soak/clock.h"
#include "harness/variant.h"

namespace sbench::soak {
namespace {

constexpr double kRunShare = 0.4;  // of cases; the others are about acknowledged writes

double share(Rng& rng) { return static_cast<double>(rng.below(1'000'000)) * 1e-6; }

bool stores(const std::string& driver) { return parse_variant(driver).spec->capabilities.stores_layers; }

std::uint64_t draw_amount(Fault fault, Rng& rng) {
  switch (fault) {
    case Fault::device_full:
      return rng.below(64 * kKiB) << rng.below(6);  // small work writes little where nothing was
    case Fault::memory_limit:
      return rng.below(8 * kMiB);
    case Fault::clock_step:
      return 1 + (rng.below(1000) << rng.below(20));  // seconds: up to 16 years
    case Fault::slow_device:
      return 500 + rng.below(10'000);
    default:
      return 4096ULL << rng.below(12);
  }
}

}  // namespace

const char* to_string(Fault fault) {
  switch (fault) {
    case Fault::kill_harness: return "kill_harness";
    case Fault::kill_helper: return "kill_helper";
    case Fault::device_full: return "device_full";
    case Fault::read_error: return "read_error";
    case Fault::write_error: return "write_error";
    case Fault::flush_error: return "flush_error";
    case Fault::slow_device: return "slow_device";
    case Fault::device_removed: return "device_removed";
    case Fault::read_only: return "read_only";
    case Fault::remount_read_only: return "remount_read_only";
    case Fault::clock_step: return "clock_step";
    case Fault::memory_limit: return "memory_limit";
  }
  return "?";
}

bool is_of_device(Fault fault) {
  return !is_kill(fault) && fault != Fault::remount_read_only && fault != Fault::clock_step && fault != Fault::memory_limit;
}

bool can_do(Fault fault) { return fault != Fault::clock_step || !clock_library().empty(); }

std::vector<std::string> drivers_here() {
  std::vector<std::string> found;
  for (const auto& spec : driver_registry()) {
    const auto option = std::find_if(spec.options.begin(), spec.options.end(),
                                     [](const OptionSpec& each) { return each.name == "engine"; });
    std::vector<std::string> labels;
    if (option == spec.options.end()) {
      labels.push_back(spec.name);
    } else {
      for (const auto& engine : option->allowed) {
        if (engine != "auto") {
          labels.push_back(spec.name + ":engine=" + engine);
        }
      }
    }
    for (const auto& label : labels) {
      if (spec.probe(parse_variant(label).options).available) {
        found.push_back(label);
      }
    }
  }
  return found;
}

const std::vector<std::string>& workloads_for(const std::string& driver) {
  static const std::vector<std::string> own = {"harness.overhead"};
  static const std::vector<std::string> all = {"persistence.append_log place:layer", "persistence.spool place:layer",
                                               "copy_up.triggers op:append",         "copy_up.rename_dir",
                                               "layer_build.diff",                   "layer_build.pull"};
  return stores(driver) ? all : own;
}

SoakCase draw_case(std::uint64_t number, const std::string& driver, bool kill, Rng& rng) {
  SoakCase drawn;
  drawn.number = number;
  drawn.driver = driver;
  drawn.work = !stores(driver) || share(rng) < kRunShare ? Work::run : Work::store;
  const auto& workloads = workloads_for(driver);
  drawn.workload = workloads[rng.below(workloads.size())];
  std::vector<Fault> faults;
  std::copy_if(kFaults.begin(), kFaults.end(), std::back_inserter(faults),
               [&](Fault each) { return is_kill(each) == kill && can_do(each); });
  drawn.fault = faults[rng.below(faults.size())];
  drawn.moment = 0.9 * share(rng);
  drawn.window = 0.05 + share(rng);
  drawn.whole_device = rng.below(2) == 0;
  drawn.amount = draw_amount(drawn.fault, rng);
  if (drawn.fault == Fault::kill_harness) {
    for (std::uint64_t more = rng.below(4); more > 0; --more) {
      drawn.later_moments.push_back(share(rng));
    }
  }
  return drawn;
}

}  // namespace sbench::soak
