#include "drivers/backing/backed_driver.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "drivers/base/file.h"
#include "drivers/layer/copy_tree.h"

namespace sbench {

namespace {
constexpr const char* kShownFolder = "shown";
}

Result<BackedDriver::Store> BackedDriver::open_store(Backing backing, const std::string& maker) {
  SBENCH_TRY(backing.claim(maker));
  if (!backing.adopted()) {
    SBENCH_TRY(remove_tree(backing.root() / kShownFolder));  // nothing outlives an unmount
  }
  SBENCH_TRY_SET(auto table, LayerTable::open(backing.root() / "table"));
  return Store{std::move(backing), std::move(table)};
}

BackedDriver::~BackedDriver() {
  if (settle_mounts()) {
    backing_.keep();
  }
}

Result<Usage> BackedDriver::store_usage() {
  if (backing_.type() == BackingType::folder) {  // what the file system uses is not the store's alone
    SBENCH_TRY_SET(const auto measured, measure_tree(root()));
    return Usage{measured.bytes_allocated, measured.inodes};
  }
  SBENCH_TRY(backing_.settle_space());
  struct statvfs info {};
  if (::statvfs(root().c_str(), &info) != 0) {
    return errno_error("cannot read the space used on {}", root().string());
  }
  return Usage{(info.f_blocks - info.f_bfree) * info.f_frsize, info.f_files - info.f_ffree};
}

Status BackedDriver::remember_shown(const LayerId& id, bool shown) {
  const auto mark = root() / kShownFolder / id;
  if (!shown) {
    return remove_tree(mark);
  }
  SBENCH_TRY(make_directories(mark.parent_path()));
  SBENCH_TRY(open_file(mark, O_WRONLY | O_CREAT));
  return {};
}

bool BackedDriver::was_left_shown(const LayerId& id) const {
  return backing_.adopted() && ::access((root() / kShownFolder / id).c_str(), F_OK) == 0;
}

Status BackedDriver::sync() { return backing_.sync(); }

std::vector<std::pair<std::string, std::string>> BackedDriver::status() {
  return {
      {"Backing Filesystem", to_string(backing_.type())},
      {"Backing Mount Options", backing_.mount_options()},
      {"Supports reflink", backing_.has_reflink() ? "true" : "false"},
      {"Layers", std::to_string(table().rows().size())},
  };
}

}  // namespace sbench
