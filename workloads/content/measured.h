// measured.h: what several workloads time in the same way.
#pragma once

#include <vector>

#include "workloads/case.h"

namespace sbench {

/// Times "diff", the packing of what `layer` changed against `parent` (nothing: of all of it), as the median of
/// several where it is short, until the device is quiet. Metric "diff_tar_bytes"; returns it.
[[nodiscard]] Result<std::uint64_t> timed_diff(Case& c, const LayerId& layer, const ParentId& parent);
/// The changes of `layer` against `parent`; phase "changes".
[[nodiscard]] Result<std::vector<Change>> changes_phase(Case& c, const LayerId& layer, const ParentId& parent);

/// Ends a timed removal: times "sync", until the device is quiet. Metric "space_freed_bytes", the space given back
/// since `before`. None of `removed` may still be listed.
[[nodiscard]] Status finish_removal(Case& c, const Case::Space& before, const std::vector<LayerId>& removed);

}  // namespace sbench
