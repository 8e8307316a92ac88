// semantic_check.h: whether a driver keeps what it is given, before it is timed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench {

/// Carries out the same five layers of changes (layer_changes.h) through the
/// driver and in a plain directory, and compares the trees after each commit:
/// content, mode, owner, xattrs, hard links, times. Packs every layer as a tar,
/// unpacks it into a second chain of layers and compares again. Checks that a
/// layer with children cannot be removed, then removes all it made.
///
/// Returns the differences, each a sentence naming the layer; none: passed. An
/// Error when the driver failed at an operation. Needs CAP_SYS_ADMIN: the plain
/// directory is a private tmpfs that no crash can leave behind. On kernels whose
/// tmpfs has no user xattrs (before 6.6) those are left out.
[[nodiscard]] Result<std::vector<std::string>> semantic_check(Driver& driver, std::uint64_t seed);

}  // namespace sbench
