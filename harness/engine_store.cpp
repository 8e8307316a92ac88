#include "harness/engine_store.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "drivers/block/direct_device.h"
#include "drivers/block/guard.h"

namespace sbench {

namespace fs = std::filesystem;

std::vector<std::string> store_format_names() {
  std::vector<std::string> names;
  for (const auto& format : store_formats()) {
    names.push_back(format.name);
  }
  return names;
}

Result<EngineStore> open_engine_store(const std::string& place, const std::string& format, bool writable) {
  std::error_code failure;
  fs::path path = fs::canonical(place, failure);
  if (failure) {
    return make_error(failure.value(), "cannot find {}", place);
  }
  if (fs::is_directory(path)) {
    path /= "device.img";
  }
  SBENCH_TRY(check_unused(path));
  EngineStore store;
  store.path = path.string();
  SBENCH_TRY_SET(store.io, DirectDevice::open(path, !writable));
  for (const auto& each : store_formats()) {
    if (format.empty() ? each.recognises(*store.io) : each.name == format) {
      store.format = &each;
      return store;
    }
  }
  return plain_error(ENODATA, "{} holds no store of a user-space engine ({}); if it did, name the engine with --engine",
                     store.path, fmt::join(store_format_names(), ", "));
}

}  // namespace sbench
