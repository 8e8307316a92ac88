// fuse_daemon.h: the distribution's zfs-fuse, a ZFS of 2010 (pool version 23) that runs as a process.
//
// Its programs reach it through one socket on a fixed path below /run/zfs, and what it mounts appears
// in its own mount namespace. So one runs at a time, in the namespace of the process that started it,
// where /run/zfs is covered by a tmpfs; both go with that process.
#pragma once

#include <memory>
#include <string>

#include "drivers/base/helper.h"
#include "drivers/base/result.h"

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

 private:
  explicit FuseDaemon(Helper helper) : helper_(std::move(helper)) {}
  Helper helper_;
};

}  // namespace sbench::zfs
