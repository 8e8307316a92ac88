// semantic_check.h: whether a driver keeps what it is given, before it is timed.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/deviations.h"
#include "drivers/driver.h"

namespace sbench {

struct SemanticFindings {
  std::vector<std::string> differences;  ///< each a sentence naming the layer; none: passed
  std::set<Deviation> deviations;        ///< declared ones that were seen and excused
};

/// Carries out the same five layers of changes (layer_changes.h) through the
/// driver and in a plain directory, and compares the trees after each commit:
/// content, mode, owner, xattrs, hard links, times. Packs every layer as a tar,
/// unpacks it into a second chain of layers and compares again. Checks that a
/// layer with children cannot be removed, then removes all it made.
///
/// What `known` declares (deviations.h) is excused, and told apart. An Error when
/// the driver failed at an operation. Needs CAP_SYS_ADMIN: the plain
/// directory is a private tmpfs that no crash can leave behind. On kernels whose
/// tmpfs has no user xattrs (before 6.6) those are left out; so are device nodes in a user namespace, and
/// other owners in one that has a single user.
[[nodiscard]] Result<SemanticFindings> semantic_check(Driver& driver, std::uint64_t seed,
                                                      const std::vector<Deviation>& known = {});

}  // namespace sbench
