#include "drivers/fuse/served_driver.h"

#include "drivers/backing/mount_point.h"
#include "drivers/layer/copy_tree.h"

namespace sbench::fuse {

Result<Usage> ServedDriver::usage(const LayerId& id) {
  SBENCH_TRY(table().find(id));
  SBENCH_TRY_SET(const auto measured, measure_tree(changes_of(id)));
  return Usage{measured.bytes_allocated, measured.inodes};
}

Status ServedDriver::sync() {
  SBENCH_TRY(servers_.write_back());
  return BackedDriver::sync();
}

Status ServedDriver::check_not_shown(const LayerId& id) const { return check_not_shown_on(shown_at(id), id); }

Status ServedDriver::remember_shown(const LayerId& id, bool shown) {
  SBENCH_TRY(shown ? servers_.leave(id) : Status());
  return BackedDriver::remember_shown(id, shown);
}

Result<std::uint64_t> ServedDriver::apply_layer_tar(const LayerId& key, ByteSource& tar) {
  SBENCH_TRY_SET(const auto row, table().find(key));
  if (is_mounted(key) || !check_not_shown(key).ok()) {
    return BackedDriver::apply_layer_tar(key, tar);
  }
  return apply_layer(tar, changes_of(key), row.parent ? whiteout_style() : WhiteoutStyle::erase);
}

}  // namespace sbench::fuse
