#include "drivers/leftovers.h"

namespace sbench {

// Each stands in its driver's folder, as in registry.cpp.
namespace devicemapper {
Result<std::vector<std::string>> remove_abandoned_pools();
}
namespace ublk {
Result<std::vector<std::string>> remove_abandoned_exports();
}
namespace zfs {
Result<std::vector<std::string>> export_abandoned_pools();
}

Result<std::vector<std::string>> undo_leftovers() {
  std::vector<std::string> undone;
  for (const auto undo : {zfs::export_abandoned_pools, devicemapper::remove_abandoned_pools, ublk::remove_abandoned_exports}) {
    SBENCH_TRY_SET(const auto names, undo());
    undone.insert(undone.end(), names.begin(), names.end());
  }
  return undone;
}

}  // namespace sbench
