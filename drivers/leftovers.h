// leftovers.h: what drivers' dead processes left in the kernel, undone.
//
// Mounts and loop devices go with the process that made them (harness/session.h);
// device-mapper devices, ublk devices and imported zpools do not. A driver that makes such
// things adds its clean-up here.
#pragma once

#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// Undoes what no living process of ours uses; returns what went, by name.
[[nodiscard]] Result<std::vector<std::string>> undo_leftovers();

}  // namespace sbench
