// exported_files.h: thin_pool::DeviceFiles whose devices can also be block devices of the kernel, through ublk.
//
// The extended attribute user.block_device of a device's file tells: setting it shows the device, its value
// is the name ("ublkb0"), removing it takes the block device down: at once, or, while somebody uses it, when
// its last user is gone, as a loop device that clears itself. unlink is EBUSY meanwhile.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "drivers/thin_pool/device_files.h"
#include "drivers/ublk/export.h"

namespace sbench::devicemapper {

inline constexpr const char* kBlockDeviceAttribute = "user.block_device";

class ExportedFiles final : public thin_pool::DeviceFiles {
 public:
  /// Opens what it needs from /dev, /proc and /sys now: the server gives these up. `threads` carry out requests of all devices.
  [[nodiscard]] static Result<std::unique_ptr<ExportedFiles>> make(std::unique_ptr<BlockIo> io,
                                                                   std::unique_ptr<thin_pool::Pool> pool, int threads);
  /// Waits a while for users, then takes all block devices down.
  ~ExportedFiles() override;

  Status unlink(NodeId parent, std::string_view name) override;
  Result<std::string> xattr(NodeId node, const char* name) override;
  Status set_xattr(NodeId node, const char* name, std::string_view value, int flags) override;
  Status remove_xattr(NodeId node, const char* name) override;

 private:
  class Shown;
  ExportedFiles(std::unique_ptr<BlockIo> io, std::unique_ptr<thin_pool::Pool> pool, int threads);
  [[nodiscard]] Status show(thin_pool::DeviceId id);
  [[nodiscard]] Result<Fd> open_character_device(unsigned number) const;
  [[nodiscard]] bool in_use(unsigned number) const;
  [[nodiscard]] bool take_down_unused();
  void watch_leaving();

  int threads_;
  unsigned character_major_ = 0;
  Fd sys_block_;
  std::unique_ptr<ublk::Control> control_;
  std::unique_ptr<ublk::Workers> workers_;  ///< made with the first device
  std::mutex shown_mutex_;
  std::condition_variable changed_;
  std::map<thin_pool::DeviceId, std::unique_ptr<Shown>> shown_;
  bool ending_ = false;
  std::thread watcher_;  ///< of devices that leave
};

}  // namespace sbench::devicemapper
