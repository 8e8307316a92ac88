// recorded_device.h: a device for any driver, and the log of all that reaches it.
//
// A process of its own serves RecordedFiles over FUSE; a loop device with direct I/O lies
// on its file. It takes one request after another: a write that was sent before a flush is
// part of it. Image and log stand in `folder`, best on a tmpfs.
#pragma once

#include <memory>

#include "drivers/block/device.h"
#include "drivers/fuse/server_process.h"
#include "tests/crash/marks.h"

namespace sbench::crash {

class RecordedDevice final : public Marks {
 public:
  [[nodiscard]] static Result<std::unique_ptr<RecordedDevice>> make(const std::filesystem::path& folder,
                                                                    std::uint64_t size_bytes);
  ~RecordedDevice() override;

  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] Status mark(const std::string& text) override;
  /// Detaches the device, which nobody uses any more; afterwards the log is complete.
  [[nodiscard]] Status finish();
  [[nodiscard]] std::filesystem::path log() const { return folder_ / "log"; }

 private:
  explicit RecordedDevice(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
  std::unique_ptr<fuse::ServerProcess> server_;
  std::unique_ptr<Device> device_;
  Fd marks_;
};

}  // namespace sbench::crash
