// deviations.cpp: where fuse-overlayfs 1.10, Debian 12's, differs from a plain directory.
#include "drivers/deviations.h"

namespace sbench {

std::vector<Deviation> fuse_overlayfs_deviations() {
  return {Deviation::copied_up_folder_times, Deviation::copied_up_folder_set_ids, Deviation::link_counts};
}

}  // namespace sbench
