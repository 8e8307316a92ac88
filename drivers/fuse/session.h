// session.h: shows a FileSystem to the kernel at a mount point.
//
// The kernel checks permissions (default_permissions, ACLs) and keeps locks
// (flock, fcntl) itself. All changes come through this mount, so names, missing
// names and attributes are cached for a day. File data is not cached by FUSE
// where the kernel can pass through to the backing file (Linux 6.9, CAP_SYS_ADMIN);
// else it is, written through. The writeback cache is off: the kernel refuses
// passthrough together with it. Attributes of a file that is open for passthrough
// writing are not cached, as mmap writes change them unseen.
//
// What FUSE itself lacks on this route: O_TMPFILE, file attributes (chattr),
// FICLONE, and syncfs(2) of the mount (the driver's sync() does it on the backing).
// Set-id bits and file capabilities fall at writes of unprivileged callers, except
// where chmod sets them while such a caller has the file open already.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>

#include "drivers/base/file_system.h"

namespace sbench::fuse {

struct SessionOptions {
  std::string name = "sbench";  ///< source of the mount, and its type "fuse.NAME"
  int threads = 0;              ///< that serve requests; 0: two for each processor, 4 to 16
  unsigned background_max = 64; ///< reads, writes and the like that the kernel sends without waiting for answers
  bool passthrough = true;      ///< where the kernel can and OpenFile::backing_fd allows
  /// False: the file system has no use for open() of files. The kernel opens and closes them without a request, and all
  /// calls for a file's data get handle 0 (copy_range() alone is given handles, opened for it). Then nothing tells which
  /// files are open; a file's references last until it is closed, as long as its node is known to the kernel.
  bool opens = true;
  bool named_prune = false;     ///< as if the kernel had no FUSE_NOTIFY_PRUNE (tests)
  double cache_s = 86400;       ///< how long names and attributes are true
  /// Nodes the kernel may keep before the oldest unused ones are taken back (known_nodes.h).
  std::size_t nodes_max = 131072;
};

/// Bytes of the largest read and write; each thread has buffers for one of both.
inline constexpr std::size_t kTransferBytesMax = 1 << 20;

class Session {
 public:
  /// Mounts `files` on `target` and answers the kernel's first request. `files` must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<Session>> mount(FileSystem& files, const std::filesystem::path& target,
                                                              const SessionOptions& options);
  ~Session();

  /// Serves until it is unmounted or the connection aborted. `progress` counts answered requests.
  void serve(std::atomic<std::uint64_t>* progress = nullptr);

  class State;  ///< session_state.h

 private:
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sbench::fuse
