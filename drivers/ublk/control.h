// control.h: the kernel's ublk driver (Linux 6.0): block devices whose requests a process serves.
//
// Commands go as io_uring requests to /dev/ublk-control (linux/ublk_cmd.h). A device is added, given
// its parameters, started once a process fetches its requests (export.h), stopped, and deleted. What a
// dead process served is stopped by the kernel, but deleted by nobody: remove_abandoned_exports() does.
#pragma once

#include <linux/ublk_cmd.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench::ublk {

/// Thread-safe; commands run beside each other.
class Control {
 public:
  /// ENOENT where the kernel has no ublk, EACCES without root, ENOSYS without io_uring.
  [[nodiscard]] static Result<std::unique_ptr<Control>> open();
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  /// A device of ours, with the kernel's choice of a number; `info` becomes what the kernel made of it.
  [[nodiscard]] Status add(ublksrv_ctrl_dev_info& info);
  [[nodiscard]] Status set_parameters(unsigned id, ublk_params parameters);
  /// Returns when /dev/ublkbN is there, all its requests being fetched by this process.
  [[nodiscard]] Status start(unsigned id);
  /// The block device goes; requests under way are served first, those that come fail.
  [[nodiscard]] Status stop(unsigned id);
  /// The number is free again. Waits until nobody has /dev/ublkcN or the block device open.
  [[nodiscard]] Status remove(unsigned id);
  /// ENODEV: there is none of that number.
  [[nodiscard]] Result<ublksrv_ctrl_dev_info> info(unsigned id);

 private:
  explicit Control(Fd fd) : fd_(std::move(fd)) {}
  [[nodiscard]] Status run(unsigned operation, const ublksrv_ctrl_cmd& command, const char* what) const;
  Fd fd_;
};

/// Whether /dev/ublk-control is there, usable, and takes the commands of Linux 6.0; if not, why.
[[nodiscard]] Status usable();

/// Deletes devices that sbench's dead processes served and nobody uses; returns their names ("ublkb0").
[[nodiscard]] Result<std::vector<std::string>> remove_abandoned_exports();

}  // namespace sbench::ublk
