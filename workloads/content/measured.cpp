#include "workloads/content/measured.h"

#include <algorithm>

namespace sbench {

Result<std::uint64_t> timed_diff(Case& c, const LayerId& layer, const ParentId& parent) {
  std::uint64_t tar_bytes = 0;
  SBENCH_TRY(c.timed_median("diff", [&]() -> Status {
    CountingSink tar;
    SBENCH_TRY(c.driver().diff(layer, parent, tar));
    tar_bytes = tar.bytes();
    return {};
  }));
  SBENCH_TRY(c.settle());
  c.metric("diff_tar_bytes", static_cast<double>(tar_bytes));
  return tar_bytes;
}

Result<std::vector<Change>> changes_phase(Case& c, const LayerId& layer, const ParentId& parent) {
  std::vector<Change> changes;
  SBENCH_TRY(c.phase("changes", [&]() -> Status {
    SBENCH_TRY_SET(changes, c.driver().changes(layer, parent));
    return {};
  }));
  return changes;
}

Status finish_removal(Case& c, const Case::Space& before, const std::vector<LayerId>& removed) {
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_freed_bytes", static_cast<double>(before.bytes) - static_cast<double>(after.bytes));
  SBENCH_TRY_SET(const auto left, c.driver().list());
  for (const auto& [id, parent] : left) {
    SBENCH_TRY(verify(std::find(removed.begin(), removed.end(), id) == removed.end(),
                      fmt::format("removed layer {} is no longer listed", id)));
  }
  return {};
}

}  // namespace sbench
