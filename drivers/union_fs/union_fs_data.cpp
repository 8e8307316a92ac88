// union_fs_data.cpp: open files: reading, writing, allocating, seeking, syncing.
//
// Data goes straight to the backing descriptor, without any lock. A handle that
// began on a lower file turns to the copy when the file is copied up.
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {
namespace {

OpenHandle& handle_of(HandleId id) { return *reinterpret_cast<OpenHandle*>(id); }

constexpr std::size_t kDirectAlignment = 4096;

/// A buffer direct I/O accepts, for callers whose own is not aligned.
class Bounce {
 public:
  explicit Bounce(std::size_t size)
      : data_(static_cast<std::byte*>(std::aligned_alloc(
            kDirectAlignment, (size + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment))) {}
  ~Bounce() { std::free(data_); }
  Bounce(const Bounce&) = delete;
  Bounce& operator=(const Bounce&) = delete;
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

bool is_aligned(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % kDirectAlignment == 0; }

}  // namespace

Result<Fd> UnionFs::open_file_of(Node& node, int flags, bool& upper, ino_t& inode) {
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const Reach at, reach(node));
  upper = at.place.branch == kUpper;
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  int open_flags = (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | (flags & (O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME | O_TRUNC));
  if (!upper) {
    open_flags |= O_NOATIME;
  }
  const auto open_it = [&]() -> int {
    if (node.metacopy.load(std::memory_order_acquire)) {
      auto data = open_below(node.more().data_branch, node.more().data_path, (open_flags & ~O_TRUNC) | O_NOFOLLOW);
      if (!data.ok()) {
        errno = data.error().code;
        return -1;
      }
      upper = false;
      return data.value().release();
    }
    return *at.place.name == '\0' ? ::open(ProcPath(at.place.fd(), "").c_str(), open_flags)
                                  : ::openat(at.place.fd(), at.place.name, open_flags | O_NOFOLLOW);
  };
  Fd fd(open_it());
  if (!fd.valid() && errno == EMFILE) {
    fds_.clear();
    fd = Fd(open_it());
  }
  if (!fd.valid()) {
    return answer();
  }
  inode = node.key.inode + (std::uint64_t{node.key.file_system} << 48);
  return fd;
}

OpenFile UnionFs::handle_for(Node& node, Fd fd, int flags, bool upper, std::uint64_t key) {
  auto handle = std::make_unique<OpenHandle>();
  handle->node = &node;
  handle->fd = std::move(fd);
  handle->current = handle->fd.get();
  handle->flags = flags;
  handle->upper = upper;
  NodeTable::hold(node);
  OpenFile file;
  file.backing_fd = handle->fd.get();
  file.backing_key = key * 2 + (upper ? 1 : 0);
  file.direct = (flags & O_DIRECT) != 0;
  file.handle = reinterpret_cast<HandleId>(handle.release());
  return file;
}

Result<OpenFile> UnionFs::open(NodeId id, int flags) {
  Node& node = node_of(id);
  if (node.is_directory()) {
    return answer(EISDIR);
  }
  if (node.type != DT_REG) {
    return answer(ENXIO);  // the kernel opens fifos, sockets and devices itself
  }
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) {
    SBENCH_TRY(copy_up(node, (flags & O_TRUNC) != 0 ? CopyUp::truncated : CopyUp::data));
  }
  bool upper = false;
  ino_t key = 0;
  SBENCH_TRY_SET(Fd fd, open_file_of(node, flags, upper, key));
  return handle_for(node, std::move(fd), flags, upper, key);
}

int UnionFs::data_fd(Node& node, OpenHandle& handle) {
  if (handle.upper || !node.is_upper() || node.metacopy.load(std::memory_order_acquire)) {
    return handle.current.load(std::memory_order_acquire);
  }
  const std::lock_guard guard(handle.lock);
  if (!handle.later.valid()) {
    bool upper = false;
    ino_t key = 0;
    auto fd = open_file_of(node, handle.flags & ~(O_TRUNC | O_ACCMODE), upper, key);
    if (fd.ok() && upper) {
      handle.later = std::move(fd).value();
      handle.current.store(handle.later.get(), std::memory_order_release);
    }
  }
  return handle.current.load(std::memory_order_acquire);
}

Result<std::size_t> UnionFs::read(NodeId id, HandleId handle_id, std::span<std::byte> into, std::uint64_t offset) {
  OpenHandle& handle = handle_of(handle_id);
  const int fd = data_fd(node_of(id), handle);
  const bool bounce = (handle.flags & O_DIRECT) != 0 && !is_aligned(into.data());
  const Bounce buffer(bounce ? into.size() : 0);
  std::byte* target = bounce ? buffer.data() : into.data();
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t count = ::pread(fd, target + done, into.size() - done, static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (done > 0) {
        break;
      }
      return answer();
    }
    done += static_cast<std::size_t>(count);
    if (count == 0 || bounce || (handle.flags & O_DIRECT) != 0) {
      break;
    }
  }
  if (bounce) {
    std::memcpy(into.data(), target, done);
  }
  return done;
}

Result<std::size_t> UnionFs::write(NodeId, HandleId handle_id, std::span<const std::byte> from, std::uint64_t offset) {
  OpenHandle& handle = handle_of(handle_id);
  const bool bounce = (handle.flags & O_DIRECT) != 0 && !is_aligned(from.data());
  const Bounce buffer(bounce ? from.size() : 0);
  const std::byte* source = from.data();
  if (bounce) {
    std::memcpy(buffer.data(), from.data(), from.size());
    source = buffer.data();
  }
  std::size_t done = 0;
  while (done < from.size()) {
    const ssize_t count =
        ::pwrite(handle.fd.get(), source + done, from.size() - done, static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (done > 0) {
        break;
      }
      return answer();
    }
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void UnionFs::written(NodeId, HandleId) {}  // no sizes or times are held in memory

void UnionFs::release(NodeId, HandleId handle_id) {
  OpenHandle* handle = &handle_of(handle_id);
  Node* node = handle->node;
  delete handle;
  table_.drop(node);
}

Status UnionFs::sync_file(NodeId, HandleId handle_id, bool data_only) {
  if (options_.sync == UnionSync::none) {
    return {};
  }
  const int fd = handle_of(handle_id).current.load();
  return (data_only ? ::fdatasync(fd) : ::fsync(fd)) == 0 ? Status() : Status(answer());
}

Status UnionFs::allocate(NodeId, HandleId handle_id, int mode, std::uint64_t offset, std::uint64_t length) {
  const int fd = handle_of(handle_id).fd.get();
  return ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0 ? Status()
                                                                                              : Status(answer());
}

Result<std::uint64_t> UnionFs::seek(NodeId id, HandleId handle_id, std::uint64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    return answer(EINVAL);
  }
  const off_t found = ::lseek(data_fd(node_of(id), handle_of(handle_id)), static_cast<off_t>(offset), whence);
  if (found < 0) {
    return answer();
  }
  return static_cast<std::uint64_t>(found);
}

Result<std::size_t> UnionFs::copy_range(HandleId from, std::uint64_t from_offset, HandleId to,
                                        std::uint64_t to_offset, std::size_t length) {
  OpenHandle& source = handle_of(from);
  off_t in = static_cast<off_t>(from_offset);
  off_t out = static_cast<off_t>(to_offset);
  const ssize_t count = ::copy_file_range(data_fd(*source.node, source), &in, handle_of(to).fd.get(), &out, length, 0);
  if (count < 0) {
    return answer();
  }
  return static_cast<std::size_t>(count);
}

}  // namespace sbench::union_fs
