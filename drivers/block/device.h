// device.h: the block device a store lives on, and what reached it.
//
// Either a real device the user named (after guard.h let it pass), or a loop
// device over an image file that sbench made itself; or, for an ordinary user, who
// has neither, a folder of a file system that is there. Results always say which.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/block/counted_io.h"

namespace sbench {

/// A device an open store may use. Move-free; owned by the session.
class Device {
 public:
  enum class Kind { loop, real, folder };

  /// A loop device with direct I/O over a new sparse image of `size_bytes` in
  /// `image_dir`. The image has no name, the loop device is auto-clearing: both
  /// vanish with the last user, SIGKILL included. ENOSPC and the like are errors.
  [[nodiscard]] static Result<std::unique_ptr<Device>> make_image(const std::filesystem::path& image_dir,
                                                                  std::uint64_t size_bytes);
  /// A loop device over an existing image file, for stores that persist (`sbench layer`).
  [[nodiscard]] static Result<std::unique_ptr<Device>> attach_image(const std::filesystem::path& image);
  /// The named block device, claimed: opened exclusively (EBUSY when something holds it). `claim`, if given, is
  /// that of guard.h for the same device, held ever since it was looked at; another device by now is EBUSY.
  [[nodiscard]] static Result<std::unique_ptr<Device>> open_real(const std::filesystem::path& path, Fd claim = {});
  /// A device that an earlier process of ours left mounted (`sbench layer mount`), not exclusively.
  [[nodiscard]] static Result<std::unique_ptr<Device>> open_shared(const std::filesystem::path& path);

  /// Takes over `folder`, an empty one of the caller's own, which goes with this object. It stands for the device twice:
  /// drivers of directories keep theirs in store_folder(), engines with a format of their own in an image file beside it,
  /// `size_bytes` large (open_io()).
  [[nodiscard]] static Result<std::unique_ptr<Device>> take_folder(const std::filesystem::path& folder,
                                                                   std::uint64_t size_bytes);
  ~Device();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Kind kind() const { return kind_; }
  /// "loop", "real" or "folder", as results name it.
  [[nodiscard]] const char* kind_name() const;
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] bool direct_io() const { return direct_io_; }

  /// For Kind::folder: empty after discard_all().
  [[nodiscard]] std::filesystem::path store_folder() const { return std::filesystem::path(path_) / "store"; }
  /// What an engine that does its own device I/O opens, in whatever process: the device, or the folder's image file.
  [[nodiscard]] IoSource io();

  /// Whether counters() are those of this device alone. Not so for a folder, whose disk others write to as well,
  /// unless what is kept there is kept through io().
  [[nodiscard]] bool counted() const { return kind_ != Kind::folder || io_.counters != nullptr; }
  /// All zero while not counted().
  [[nodiscard]] Result<DeviceCounters> counters() const;
  /// Claims a named device again, between two stores: EBUSY, with what uses it, when somebody took
  /// it meanwhile and keeps it for `patience_ms`.
  [[nodiscard]] Status claim(int patience_ms = 3000);
  /// Discards every block (a folder's content), so that each format starts from the same state; earlier users' lost writes are
  /// told to nobody.
  /// Devices that cannot discard are left as they are.
  [[nodiscard]] Status discard_all();
  /// Lets a file system be made or mounted, which claims the device itself: gives up the claim, keeps the device alive.
  void release_exclusive();

 private:
  Device() = default;
  [[nodiscard]] static Result<std::unique_ptr<Device>> over_image(int image_fd);
  [[nodiscard]] Status empty_folder();
  [[nodiscard]] static Result<std::unique_ptr<Device>> open_path(const std::filesystem::path& path);
  Kind kind_ = Kind::loop;
  std::string path_;
  std::uint64_t size_bytes_ = 0;
  bool direct_io_ = false;
  bool named_ = false;  ///< by the user: others may want it, too
  IoSource io_;         ///< Kind::folder's, once asked for
  Fd fd_;
  Fd claim_;
};

}  // namespace sbench
