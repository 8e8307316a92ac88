// file_system.h: an inode-level file system in user space, as engines implement it.
//
// union_fs (and later cow_fs) is a FileSystem; drivers/fuse shows any FileSystem
// to the kernel, and tests call it in process. It knows nothing of FUSE: errors
// are errnos, nodes are numbers that live while somebody holds references.
//
// The kernel (or a test) above it checks permissions (mode bits and ACLs) and
// path walks; the file system gives new files the caller's owner and applies
// set-group-id directories, default ACLs and the caller's umask.
//
// Threads: every call may come from any thread, at the same time as any other.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "drivers/base/result.h"

namespace sbench {

/// Names a node between the call that returned it and the forget() that gives the last reference back.
using NodeId = std::uint64_t;
inline constexpr NodeId kRootNode = 1;

/// Names an open file or directory between open and release.
using HandleId = std::uint64_t;

/// Who asks. New files belong to uid:gid; the file system has no other use for it.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 022;
};

/// What lookup and the making calls return. Each holds one reference to `node`, to be given back by forget().
struct Entry {
  NodeId node = 0;
  std::uint64_t generation = 0;  ///< distinguishes files that had the same `attributes.st_ino` one after another
  struct stat attributes {};     ///< st_dev is ignored; st_ino is stable for the life of the file
};

/// Which attributes set_attributes() changes; the values are in its `wanted`.
enum class AttributeMask : unsigned {
  mode = 1, uid = 2, gid = 4, size = 8,
  atime = 16, mtime = 32, atime_now = 64, mtime_now = 128,
  /// The kernel asks for set-id bits and file capabilities to go, as a write by another user makes them.
  drop_privileges = 256,
};

struct OpenFile {
  HandleId handle = 0;
  /// When >= 0: all data of this open file stands at the same offsets in this descriptor, which
  /// stays open until release(); reads and writes may go there directly (splice, FUSE passthrough).
  /// The file system hears of such writes only through written().
  int backing_fd = -1;
  /// Identifies the backing file: open files of one node with equal backing_key share data.
  std::uint64_t backing_key = 0;
  /// Data cached from earlier open files of the node is still true.
  bool keep_cache = true;
  /// Reads and writes bypass the kernel's cache, several at a time (direct I/O, parallel direct writes).
  bool direct = false;
};

struct DirectoryEntry {
  std::string_view name;
  std::uint64_t inode = 0;
  unsigned type = 0;         ///< DT_*
  std::uint64_t cookie = 0;  ///< where read_directory() goes on after this entry
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// ENOENT, ENAMETOOLONG; names the file system keeps for itself do not exist.
  [[nodiscard]] virtual Result<Entry> lookup(NodeId parent, std::string_view name) = 0;
  /// Gives `references` back.
  virtual void forget(NodeId node, std::uint64_t references) = 0;

  /// `handle` is an open file of the node, or 0: unlinked files are reached through theirs.
  [[nodiscard]] virtual Result<struct stat> attributes(NodeId node, HandleId handle) = 0;
  /// `mask`: AttributeMask bits. Returns the attributes after the change.
  [[nodiscard]] virtual Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned mask,
                                                           const struct stat& wanted) = 0;
  [[nodiscard]] virtual Result<std::string> read_link(NodeId node) = 0;

  /// Regular files without opening them, fifos, sockets, devices.
  [[nodiscard]] virtual Result<Entry> make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                                                dev_t device) = 0;
  [[nodiscard]] virtual Result<Entry> make_directory(const Caller& caller, NodeId parent, std::string_view name,
                                                     mode_t mode) = 0;
  [[nodiscard]] virtual Result<Entry> make_symlink(const Caller& caller, NodeId parent, std::string_view name,
                                                   std::string_view target) = 0;
  [[nodiscard]] virtual Result<Entry> make_link(NodeId node, NodeId parent, std::string_view name) = 0;
  [[nodiscard]] virtual Status unlink(NodeId parent, std::string_view name) = 0;
  [[nodiscard]] virtual Status remove_directory(NodeId parent, std::string_view name) = 0;
  /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.
  [[nodiscard]] virtual Status rename(NodeId parent, std::string_view name, NodeId new_parent,
                                      std::string_view new_name, unsigned flags) = 0;

  struct Created {
    Entry entry;
    OpenFile file;
  };
  /// open(2) with O_CREAT of a name that does not exist yet. EEXIST when it came into being meanwhile.
  [[nodiscard]] virtual Result<Created> create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                                               int flags) = 0;
  /// `flags`: access mode, O_TRUNC, O_APPEND, O_DIRECT, O_NOATIME, O_SYNC; opening for writing copies up.
  [[nodiscard]] virtual Result<OpenFile> open(NodeId node, int flags) = 0;
  [[nodiscard]] virtual Result<std::size_t> read(NodeId node, HandleId handle, std::span<std::byte> into,
                                                 std::uint64_t offset) = 0;
  [[nodiscard]] virtual Result<std::size_t> write(NodeId node, HandleId handle, std::span<const std::byte> from,
                                                  std::uint64_t offset) = 0;
  /// Writes went past write() to the backing descriptor: sizes and times held in memory are void.
  virtual void written(NodeId node, HandleId handle) = 0;
  virtual void release(NodeId node, HandleId handle) = 0;
  [[nodiscard]] virtual Status sync_file(NodeId node, HandleId handle, bool data_only) = 0;
  /// fallocate(2).
  [[nodiscard]] virtual Status allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset,
                                        std::uint64_t length) = 0;
  /// lseek(2) with SEEK_DATA or SEEK_HOLE.
  [[nodiscard]] virtual Result<std::uint64_t> seek(NodeId node, HandleId handle, std::uint64_t offset, int whence) = 0;
  /// copy_file_range(2) between two open files.
  [[nodiscard]] virtual Result<std::size_t> copy_range(HandleId from, std::uint64_t from_offset, HandleId to,
                                                       std::uint64_t to_offset, std::size_t length) = 0;

  [[nodiscard]] virtual Result<HandleId> open_directory(NodeId node) = 0;
  /// Calls `take` for the entries after `cookie` (0: from the start; "." and ".." first) until it
  /// returns false or they end. An entry that exists all the time is seen exactly once by a reader that
  /// goes on from the last cookie it took, whatever happens to others meanwhile (telldir, seekdir).
  using TakeEntry = std::function<bool(const DirectoryEntry&)>;
  [[nodiscard]] virtual Status read_directory(NodeId node, HandleId handle, std::uint64_t cookie,
                                              const TakeEntry& take) = 0;
  virtual void release_directory(NodeId node, HandleId handle) = 0;
  [[nodiscard]] virtual Status sync_directory(NodeId node) = 0;

  [[nodiscard]] virtual Result<struct statvfs> statistics() = 0;
  /// Attributes of the file system's own are hidden. ENODATA when missing.
  [[nodiscard]] virtual Result<std::string> xattr(NodeId node, const char* name) = 0;
  /// Names, each ended by a zero byte.
  [[nodiscard]] virtual Result<std::string> xattr_names(NodeId node) = 0;
  /// `flags`: XATTR_CREATE, XATTR_REPLACE.
  [[nodiscard]] virtual Status set_xattr(NodeId node, const char* name, std::string_view value, int flags) = 0;
  [[nodiscard]] virtual Status remove_xattr(NodeId node, const char* name) = 0;

  /// Everything acknowledged is on the device. Must not call sync(2).
  [[nodiscard]] virtual Status sync() = 0;
};

}  // namespace sbench
