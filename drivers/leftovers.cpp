#include "drivers/leftovers.h"

namespace sbench {

// Each stands in its driver's folder, as in registry.cpp.
namespace devicemapper {
Result<std::vector<std::string>> remove_abandoned_pools();
}

Result<std::vector<std::string>> undo_leftovers() { return devicemapper::remove_abandoned_pools(); }

}  // namespace sbench
