#include <algorithm>

#include "drivers/base/check.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

std::vector<WorkloadSpec>& mutable_registry() {
  static std::vector<WorkloadSpec> registry;
  return registry;
}

}  // namespace

RegisterWorkload::RegisterWorkload(WorkloadSpec spec) {
  auto& registry = mutable_registry();
  const auto place = std::lower_bound(registry.begin(), registry.end(), spec.name,
                                      [](const WorkloadSpec& each, const std::string& name) { return each.name < name; });
  SBENCH_CHECK(place == registry.end() || place->name != spec.name);
  registry.insert(place, std::move(spec));
}

const std::vector<WorkloadSpec>& workload_registry() { return mutable_registry(); }

std::vector<Params> expand_params(const WorkloadSpec& spec, Profile profile) {
  std::vector<Params> sets(1);
  for (const auto& param : spec.params) {
    std::vector<Params> grown;
    for (const auto& set : sets) {
      for (const auto& value : param.values[static_cast<std::size_t>(profile)]) {
        grown.push_back(set);
        grown.back().set(param.name, value);
      }
    }
    sets = std::move(grown);
  }
  if (spec.keep) {
    std::erase_if(sets, [&](const Params& set) { return !spec.keep(set, profile); });
  }
  return sets;
}

}  // namespace sbench
