#include "drivers/fuse/pool_place.h"

#include <fcntl.h>
#include <sys/file.h>

#include <chrono>
#include <thread>

#include "drivers/base/file.h"

namespace sbench::fuse {

Result<PoolPlace> PoolPlace::take(const std::filesystem::path& directory, const std::string& device) {
  constexpr int kTakeoverPatience_ms = 20'000;
  constexpr int kStep_ms = 1;
  PoolPlace place;
  SBENCH_TRY_SET(place.lock_, open_file(directory.string() + ".lock", O_RDWR | O_CREAT, 0600));
  for (int waited_ms = 0; ::flock(place.lock_.get(), LOCK_EX | LOCK_NB) != 0; waited_ms += kStep_ms) {
    if (errno != EWOULDBLOCK || waited_ms >= kTakeoverPatience_ms) {
      return errno_error("cannot lock {}.lock: another process serves the pool", directory.string());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kStep_ms));
  }
  SBENCH_TRY_SET(place.claim_, open_file(device, O_RDONLY | O_EXCL));
  return place;
}

void PoolPlace::keep() && {
  static auto& held = *new PoolPlace();
  held = std::move(*this);
}

}  // namespace sbench::fuse
