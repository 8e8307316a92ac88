// lossy_driver.h: a driver that loses one thing, to prove that the semantic check notices.
#pragma once

#include <memory>

#include "drivers/driver.h"

namespace sbench::test {

enum class Loss {
  nothing,  ///< the control: the wrapper alone must pass
  content_byte,
  file_tail,
  permission_bit,
  setuid_bit,
  owner,
  mtime_nanoseconds,
  directory_mtime,
  xattr,
  capability,
  hard_link,
  symlink_target,
  device_number,
  fifo,
  deletion,    ///< a deleted file comes back
  opaqueness,  ///< a re-created directory shows its old entries
  new_file,
  empty_directory,
  whiteouts_in_diff,  ///< the packed layer holds no deletion
  xattrs_in_apply,    ///< unpacking drops extended attributes
  parents,            ///< a layer with children can be removed
};
inline constexpr int kLosses = static_cast<int>(Loss::parents) + 1;
[[nodiscard]] const char* to_string(Loss loss);

/// Wraps `inner`, which it does not own, and loses `loss` once.
[[nodiscard]] std::unique_ptr<Driver> make_lossy_driver(Driver& inner, Loss loss);

}  // namespace sbench::test
