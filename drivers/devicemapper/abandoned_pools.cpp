#include "drivers/devicemapper/abandoned_pools.h"

#include <algorithm>
#include <map>

#include "drivers/backing/mount_point.h"
#include "drivers/devicemapper/dm_device.h"
#include "drivers/devicemapper/pool_place.h"

namespace sbench::devicemapper {

namespace {

struct Pool {
  std::vector<std::string> thins;
  std::vector<std::string> parts;  ///< pool first
  bool in_use = false;
};

/// "sbench-7.0-thin-3" → "sbench-7.0-".
std::string prefix_of(const std::string& name) {
  const auto dash = name.find('-', std::string_view(kNamePrefix).size());
  return dash == std::string::npos ? std::string() : name.substr(0, dash + 1);
}

Result<std::map<std::string, Pool>> list_pools() {
  SBENCH_TRY_SET(const auto names, dm_list());
  std::map<std::string, Pool> pools;
  for (const auto& name : names) {
    SBENCH_TRY_SET(const auto device, dm_find(name));
    const std::string prefix = prefix_of(name);
    if (!device || prefix.empty() || !device->uuid.starts_with(kUuidPrefix)) {
      continue;
    }
    Pool& pool = pools[prefix];
    const bool thin = name.starts_with(prefix + "thin-");
    auto& list = thin ? pool.thins : pool.parts;
    list.insert(name == prefix + "pool" ? list.begin() : list.end(), name);
    pool.in_use = pool.in_use || maker_runs(device->uuid) || (thin && device->users > 0);
  }
  return pools;
}

}  // namespace

Result<std::vector<std::string>> remove_abandoned_pools() {
  std::vector<std::string> removed;
  if (!may_mount() || !kernel_has_device_mapper()) {
    return removed;
  }
  SBENCH_TRY_SET(const auto pools, list_pools());
  for (const auto& [prefix, pool] : pools) {
    if (pool.in_use) {
      continue;
    }
    for (const auto* list : {&pool.thins, &pool.parts}) {
      for (const auto& name : *list) {
        const Status gone = dm_remove(name, false);
        if (!gone.ok() && gone.error().code != ENOENT) {
          return gone.error();
        }
        removed.push_back(name);
      }
    }
  }
  return removed;
}

}  // namespace sbench::devicemapper
