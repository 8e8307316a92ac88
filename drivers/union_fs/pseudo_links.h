// pseudo_links.h: hard-linked lower files that were copied up: all their names stay one file.
//
// Copying up gives the file a name in the writable branch for one of its names
// only. A hidden link to the copy, named after the lower file, tells what the
// other, lower names mean from then on: aufs' `.wh..wh.plnk`, and a folder
// `links` in the overlay work directory. Closing the union gives every such name
// its link in the branch and removes the hidden ones; after a crash they are
// there at the next open. Thread-safe.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/union_fs/fd_cache.h"

namespace sbench::union_fs {

class PseudoLinks {
 public:
  /// The folder `name` in `parent`, made when missing.
  [[nodiscard]] Status open(int parent, const char* name);

  [[nodiscard]] const FdLease& folder() const { return folder_; }
  /// Held over "look here, then in the node table" and over "add here, then change the node table".
  [[nodiscard]] std::unique_lock<std::recursive_mutex> hold() { return std::unique_lock(lock_); }
  /// No file is linked: a look without the lock.
  [[nodiscard]] bool none() const { return count_.load(std::memory_order_acquire) == 0; }

  /// What the hidden link of the lower file shown as `inode` is called: that number, and the lower branch's own.
  [[nodiscard]] static std::string name_of(std::uint64_t inode);

  /// `remaining`: names that are still only in lower branches.
  void add(std::uint64_t inode, ino_t upper, std::int64_t remaining);
  [[nodiscard]] std::optional<ino_t> upper_of(std::uint64_t inode);
  /// The shown inode number of a linked upper file.
  [[nodiscard]] std::optional<std::uint64_t> shown_of(ino_t upper);
  /// One of the lower names went, or became a link in the writable branch.
  void take_lower_name(std::uint64_t inode);
  /// Names of the file in the union, its upper st_nlink being this.
  [[nodiscard]] std::uint64_t names_of(std::uint64_t inode, std::uint64_t upper_links);
  /// Removes the hidden link.
  void remove(std::uint64_t inode);
  [[nodiscard]] std::vector<std::uint64_t> all();

 private:
  struct Link {
    ino_t upper = 0;
    std::int64_t remaining = 0;
  };
  FdLease folder_;
  std::recursive_mutex lock_;
  std::unordered_map<std::uint64_t, Link> links_;
  std::unordered_map<ino_t, std::uint64_t> by_upper_;
  std::atomic<std::size_t> count_{0};
};

}  // namespace sbench::union_fs
