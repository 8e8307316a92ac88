// work_area.h: where files are built before they get their place: one folder on the writable branch's file system.
//
// overlay: <work>/work, which the kernel uses the same way; aufs: `.wh..wh.orph`
// in the branch. Whatever lies there at open() was left by a killed union and is
// removed. Also holds the file all new whiteouts are hard links to. Thread-safe.
#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/union_fs/union_fs.h"

namespace sbench::union_fs {

class WorkArea {
 public:
  WorkArea() = default;
  /// `upper_root`: the writable branch. EINVAL when the work folder is on another file system or
  /// carries the mark of a volatile mount; EBUSY when another union has it.
  [[nodiscard]] Status open(UnionDialect dialect, int upper_root, const std::optional<std::filesystem::path>& work);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// A name nobody uses in the area.
  [[nodiscard]] std::string fresh_name();
  /// An unnamed regular file, or, where the file system has none, a named one (`name` set): readable and writable.
  [[nodiscard]] Result<Fd> make_file(std::string& name);
  /// Gives the file of make_file() the name; EEXIST when that is taken.
  [[nodiscard]] int place(const Fd& file, const std::string& made_name, int directory, const char* name);
  /// A whiteout device at (directory, name), where nothing is.
  [[nodiscard]] int make_whiteout_device(int directory, const char* name);
  /// aufs: an empty file at (directory, name), a link to the base file.
  [[nodiscard]] int link_base_file(int directory, const char* name);
  /// Deletes what `name` of the area is: a file or a directory with whatever it holds.
  void discard(const std::string& name);

 private:
  [[nodiscard]] int make_device_base();
  [[nodiscard]] int make_aufs_base();

  int upper_root_ = -1;
  Fd fd_;
  std::atomic<unsigned> next_{0};
  std::atomic<bool> unnamed_files_{true};
  std::mutex base_lock_;
  std::string device_base_;  // a whiteout in the area that others are links to; empty: none yet
};

}  // namespace sbench::union_fs
