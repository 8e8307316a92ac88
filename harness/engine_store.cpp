#include "harness/engine_store.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <filesystem>

#include "drivers/base/file.h"
#include "drivers/block/direct_device.h"
#include "drivers/block/guard.h"
#include "drivers/block/signature.h"

namespace sbench {

namespace fs = std::filesystem;

std::vector<std::string> store_format_names() {
  std::vector<std::string> names;
  for (const auto& format : store_formats()) {
    names.push_back(format.name);
  }
  return names;
}

namespace {

Result<std::vector<std::string>> signatures_on(const std::string& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", path);
  }
  SBENCH_TRY_SET(DeviceContent content, read_content(fd.get(), path, family_of(status.st_rdev), {}));
  return std::move(content.signatures);
}

}  // namespace

Result<EngineStore> open_engine_store(const std::string& place, const std::string& format, bool writable) {
  std::error_code failure;
  fs::path path = fs::canonical(place, failure);
  if (failure) {
    return make_error(failure.value(), "cannot find {}", place);
  }
  if (fs::is_directory(path)) {
    path /= "device.img";
  }
  EngineStore store;
  if (fs::is_block_file(path)) {
    SBENCH_TRY_SET(DeviceFacts facts, claim_unused(path));
    store.claim = std::move(facts.claim);
  } else {
    SBENCH_TRY(check_unused(path));
  }
  store.path = path.string();
  SBENCH_TRY_SET(store.io, DirectDevice::open(path, !writable));
  for (const auto& each : store_formats()) {
    if (format.empty() ? each.recognises(*store.io) : each.name == format) {
      store.format = &each;
      if (writable) {
        SBENCH_TRY_SET(store.signatures, signatures_on(store.path));
      }
      return store;
    }
  }
  return plain_error(ENODATA, "{} holds no store of a user-space engine ({}); if it did, name the engine with --engine",
                     store.path, fmt::join(store_format_names(), ", "));
}

}  // namespace sbench
