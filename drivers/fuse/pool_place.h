// pool_place.h: what the process that serves a pool holds while it has it open.
#pragma once

#include <filesystem>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench::fuse {

/// The lock on the place where the pool is served, and the exclusive claim on its device.
class PoolPlace {
 public:
  /// Waits for an earlier server of `directory` to close its pool. EBUSY: the device is somebody else's.
  [[nodiscard]] static Result<PoolPlace> take(const std::filesystem::path& directory, const std::string& device);

  /// Holds both until the process ends, after the pool was closed. Without it they go with this object.
  void keep() &&;

 private:
  Fd lock_;
  Fd claim_;
};

}  // namespace sbench::fuse
