#include "harness/engine_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fmt/ranges.h>

#include <filesystem>

#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "drivers/block/direct_device.h"
#include "drivers/block/guard.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// The loop device that an image file is attached to; empty when none is.
std::string loop_over(const fs::path& image) {
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator("/sys/block", failure)) {
    if (read_trimmed(entry.path() / "loop/backing_file") == image.string()) {
      return "/dev/" + entry.path().filename().string();
    }
  }
  return {};
}

/// A store that somebody changes meanwhile can be neither judged nor written.
Status check_unused(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return errno_error("cannot find {}", path.string());
  }
  if (!S_ISBLK(status.st_mode)) {
    if (!S_ISREG(status.st_mode)) {
      return plain_error(ENOTBLK, "{} is neither a block device nor an image file", path.string());
    }
    const std::string loop = loop_over(path);
    return loop.empty() ? Status() : plain_error(EBUSY, "{} is in use: it is attached to {}", path.string(), loop);
  }
  SBENCH_TRY_SET(const DeviceFacts facts, inspect_device(path));
  if (!facts.mounted_at.empty()) {
    return plain_error(EBUSY, "{} is in use: it is mounted at {}", path.string(), facts.mounted_at.front());
  }
  if (facts.busy || facts.used_as_swap || !facts.holders.empty()) {
    return plain_error(EBUSY, "{} is in use by another program or device", path.string());
  }
  return {};
}

}  // namespace

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
  constexpr int kPatience_ms = 3000;  // a server whose mount just went takes a moment to close its pool
  constexpr int kStep_ms = 10;
  SBENCH_TRY(while_busy(kPatience_ms, kStep_ms, [&] { return check_unused(path); }));
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
