// fuse_daemon.h: the distribution's zfs-fuse, a ZFS of 2010 (pool version 23) that runs as a process.
//
// Its programs reach it through one socket on a fixed path below /run/zfs, and what it mounts appears
// in its own mount namespace. So one runs at a time, in the namespace of the process that started it,
// where /run/zfs is covered by a tmpfs; both go with that process.
//
// On a device that fails it hangs, whatever failmode says, and with it its programs and all that uses its mounts: one that
// does not answer is killed, and the mounts' users are let go with errors.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "drivers/base/helper.h"
#include "drivers/base/result.h"
#include "drivers/fuse/watchdog.h"

namespace sbench::zfs {

class FuseDaemon {
 public:
  /// Returns when it answers. ENOTSUP in the machine's first mount namespace, EBUSY while this process runs one.
  [[nodiscard]] static Result<std::shared_ptr<FuseDaemon>> start();
  /// Its pools must be exported by then.
  ~FuseDaemon();
  FuseDaemon(const FuseDaemon&) = delete;
  FuseDaemon& operator=(const FuseDaemon&) = delete;

  /// A directory with nothing but a link to `device`: zpool searches directories.
  [[nodiscard]] Result<std::string> directory_of(const std::string& device) const;
  [[nodiscard]] bool alive() const { return helper_.alive(); }
  /// Watches what is mounted at `target` for as long as the result lives: without any answer for a minute while something
  /// waits, its connection is cut.
  [[nodiscard]] std::unique_ptr<fuse::Watch> watch(const std::filesystem::path& target) const;

 private:
  explicit FuseDaemon(Helper helper);
  void watch_tools();  ///< kills the daemon when a program waits for it too long
  Helper helper_;
  std::mutex mutex_;
  std::condition_variable ends_;
  bool ending_ = false;
  std::thread watcher_;
};

}  // namespace sbench::zfs
