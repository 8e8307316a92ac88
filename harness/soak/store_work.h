// store_work.h: the two processes of a case that asks whether acknowledged bytes stay.
//
// The writer formats a device, stacks layers and appends to files in them; what fsync(2) or the driver's sync()
// acknowledged it writes down, until it is done or something ends it. The checker opens the store again and looks
// for everything that was written down.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "drivers/base/result.h"

namespace sbench::soak {

struct StoreWork {
  std::string driver;             ///< as --driver takes it
  std::string device;
  std::filesystem::path written;  ///< where acknowledgements are written down
  std::uint64_t seed = 0;
  unsigned records = 150;
};

[[nodiscard]] Status write_store(const StoreWork& work);
/// Returns how many acknowledgements were looked up. EBADMSG names the first that is not kept.
[[nodiscard]] Result<std::uint64_t> check_store(const StoreWork& work);

}  // namespace sbench::soak
