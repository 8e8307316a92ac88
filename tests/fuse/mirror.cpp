#include "tests/fuse/mirror.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "drivers/base/file.h"

namespace sbench::test {

namespace {
Error failed() { return errno_error("mirror"); }
Status done(int code) { return code == 0 ? Status() : Status(failed()); }
int fd_of_handle(HandleId handle) { return static_cast<int>(handle) - 1; }
}  // namespace

Mirror::Mirror(const std::filesystem::path& root, MirrorControl& control) : control_(control) {
  Node& node = nodes_[next_++];
  node.path = Fd(::open(root.c_str(), O_PATH | O_CLOEXEC));
  node.references = 1;
}

int Mirror::fd_of(NodeId node) {
  const std::lock_guard lock(mutex_);
  return nodes_.at(node).path.get();
}

std::string Mirror::proc_path(NodeId node) { return fmt::format("/proc/self/fd/{}", fd_of(node)); }

Result<Entry> Mirror::entry(NodeId parent, std::string_view name) {
  Fd path(::openat(fd_of(parent), std::string(name).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  Entry found;
  if (!path.valid() || ::fstat(path.get(), &found.attributes) != 0) {
    return failed();
  }
  const std::pair identity(found.attributes.st_dev, found.attributes.st_ino);
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = by_identity_.emplace(identity, next_);
  if (is_new) {
    nodes_[next_].path = std::move(path);
    nodes_[next_++].identity = identity;
    control_.nodes_peak = std::max(control_.nodes_peak.load(), ++control_.nodes);
  }
  ++nodes_[place->second].references;
  found.node = place->second;
  return found;
}

Result<Entry> Mirror::lookup(NodeId parent, std::string_view name) {
  ++control_.lookups;
  return entry(parent, name);
}

void Mirror::forget(NodeId node, std::uint64_t references) {
  const std::lock_guard lock(mutex_);
  auto& known = nodes_.at(node);
  SBENCH_CHECK(known.references >= references);  // the session must not give back more than it got
  known.references -= references;
  if (known.references == 0) {
    by_identity_.erase(known.identity);
    nodes_.erase(node);
    --control_.nodes;
  }
}

Result<struct stat> Mirror::attributes(NodeId node, HandleId) {
  struct stat status {};
  return ::fstat(fd_of(node), &status) == 0 ? Result<struct stat>(status) : failed();
}

Result<struct stat> Mirror::set_attributes(NodeId node, HandleId, unsigned mask, const struct stat& wanted) {
  const auto has = [mask](AttributeMask bit) { return (mask & static_cast<unsigned>(bit)) != 0; };
  const std::string path = proc_path(node);
  int code = 0;
  if (has(AttributeMask::drop_privileges)) {
    SBENCH_TRY_SET(const auto now, attributes(node, 0));
    if ((now.st_mode & (S_ISUID | S_ISGID)) != 0) {
      code |= ::chmod(path.c_str(), now.st_mode & 0777);
    }
  }
  if (has(AttributeMask::uid) || has(AttributeMask::gid)) {
    code |= ::fchownat(fd_of(node), "", has(AttributeMask::uid) ? wanted.st_uid : static_cast<uid_t>(-1),
                       has(AttributeMask::gid) ? wanted.st_gid : static_cast<gid_t>(-1), AT_EMPTY_PATH);
  }
  if (has(AttributeMask::mode)) {
    code |= ::chmod(path.c_str(), wanted.st_mode & 07777);
  }
  if (has(AttributeMask::size)) {
    code |= ::truncate(path.c_str(), wanted.st_size);
  }
  const auto time = [&](AttributeMask given, AttributeMask now, const timespec& value) {
    return has(now) ? timespec{0, UTIME_NOW} : has(given) ? value : timespec{0, UTIME_OMIT};
  };
  const std::array<timespec, 2> times = {time(AttributeMask::atime, AttributeMask::atime_now, wanted.st_atim),
                                         time(AttributeMask::mtime, AttributeMask::mtime_now, wanted.st_mtim)};
  if (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) {
    code |= ::utimensat(AT_FDCWD, path.c_str(), times.data(), 0);
  }
  return code == 0 ? attributes(node, 0) : failed();
}

Result<std::string> Mirror::read_link(NodeId node) {
  std::array<char, PATH_MAX> target{};
  const ssize_t bytes = ::readlinkat(fd_of(node), "", target.data(), target.size());
  return bytes >= 0 ? Result<std::string>(std::string(target.data(), static_cast<std::size_t>(bytes))) : failed();
}

Result<Entry> Mirror::give(const Caller& caller, NodeId parent, std::string_view name) {
  if (::fchownat(fd_of(parent), std::string(name).c_str(), caller.uid, caller.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed();
  }
  return entry(parent, name);
}

Result<Entry> Mirror::make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device) {
  SBENCH_TRY(done(::mknodat(fd_of(parent), std::string(name).c_str(), mode & ~caller.umask, device)));
  return give(caller, parent, name);
}

Result<Entry> Mirror::make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) {
  SBENCH_TRY(done(::mkdirat(fd_of(parent), std::string(name).c_str(), mode & ~caller.umask)));
  return give(caller, parent, name);
}

Result<Entry> Mirror::make_symlink(const Caller& caller, NodeId parent, std::string_view name, std::string_view target) {
  SBENCH_TRY(done(::symlinkat(std::string(target).c_str(), fd_of(parent), std::string(name).c_str())));
  return give(caller, parent, name);
}

Result<Entry> Mirror::make_link(NodeId node, NodeId parent, std::string_view name) {
  SBENCH_TRY(done(::linkat(AT_FDCWD, proc_path(node).c_str(), fd_of(parent), std::string(name).c_str(), AT_SYMLINK_FOLLOW)));
  return entry(parent, name);
}

Status Mirror::unlink(NodeId parent, std::string_view name) {
  return done(::unlinkat(fd_of(parent), std::string(name).c_str(), 0));
}

Status Mirror::remove_directory(NodeId parent, std::string_view name) {
  return done(::unlinkat(fd_of(parent), std::string(name).c_str(), AT_REMOVEDIR));
}

Status Mirror::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name, unsigned flags) {
  return done(::renameat2(fd_of(parent), std::string(name).c_str(), fd_of(new_parent), std::string(new_name).c_str(), flags));
}

/// The open file's descriptor, or one opened for a call that comes without.
class Mirror::DataFile {
 public:
  DataFile(Mirror& mirror, NodeId node, HandleId handle) : fd_(fd_of_handle(handle)) {
    if (handle == 0) {
      own_ = Fd(::open(mirror.proc_path(node).c_str(), O_RDWR | O_CLOEXEC));
      fd_ = own_.get();
    }
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  Fd own_;
  int fd_;
};

OpenFile Mirror::opened(Fd file) {
  ++control_.opens;
  struct stat status {};
  SBENCH_CHECK(::fstat(file.get(), &status) == 0);
  OpenFile open;
  open.backing_fd = control_.backing ? file.get() : -1;
  open.backing_key = status.st_ino + control_.key_offset;
  open.direct = control_.direct;
  open.handle = static_cast<HandleId>(file.release()) + 1;
  return open;
}

Result<FileSystem::Created> Mirror::create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                                           int flags) {
  Fd file(::openat(fd_of(parent), std::string(name).c_str(), (flags & ~(O_DIRECT | O_APPEND)) | O_CREAT | O_EXCL | O_CLOEXEC,
                   mode & ~caller.umask));
  if (!file.valid()) {
    return failed();
  }
  SBENCH_TRY_SET(auto made, give(caller, parent, name));
  return Created{made, opened(std::move(file))};
}

Result<OpenFile> Mirror::open(NodeId node, int flags) {
  Fd file(::open(proc_path(node).c_str(), (flags & ~(O_NOFOLLOW | O_DIRECT | O_APPEND)) | O_CLOEXEC));
  return file.valid() ? Result<OpenFile>(opened(std::move(file))) : failed();
}

Result<std::size_t> Mirror::read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) {
  const DataFile file(*this, node, handle);
  ++control_.reads;
  while (control_.hang) {
    ::usleep(1000);
  }
  const ssize_t bytes = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(offset));
  return bytes >= 0 ? Result<std::size_t>(static_cast<std::size_t>(bytes)) : failed();
}

Result<std::size_t> Mirror::write(NodeId node, HandleId handle, std::span<const std::byte> from, std::uint64_t offset) {
  const DataFile file(*this, node, handle);
  ++control_.writes;
  const ssize_t bytes = ::pwrite(file.get(), from.data(), from.size(), static_cast<off_t>(offset));
  return bytes >= 0 ? Result<std::size_t>(static_cast<std::size_t>(bytes)) : failed();
}

void Mirror::release(NodeId, HandleId handle) {
  std::this_thread::sleep_for(std::chrono::milliseconds(control_.release_ms));
  ::close(fd_of_handle(handle));
  ++control_.releases;
}

Status Mirror::sync_file(NodeId node, HandleId handle, bool data_only) {
  const DataFile file(*this, node, handle);
  ++control_.syncs;
  return done(data_only ? ::fdatasync(file.get()) : ::fsync(file.get()));
}

Status Mirror::allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset, std::uint64_t length) {
  const DataFile file(*this, node, handle);
  return done(::fallocate(file.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
}

Result<std::uint64_t> Mirror::seek(NodeId node, HandleId handle, std::uint64_t offset, int whence) {
  const DataFile file(*this, node, handle);
  const off_t found = ::lseek(file.get(), static_cast<off_t>(offset), whence);
  return found >= 0 ? Result<std::uint64_t>(static_cast<std::uint64_t>(found)) : failed();
}

Result<std::size_t> Mirror::copy_range(HandleId from, std::uint64_t from_offset, HandleId to, std::uint64_t to_offset,
                                       std::size_t length) {
  auto from_at = static_cast<off_t>(from_offset);
  auto to_at = static_cast<off_t>(to_offset);
  const ssize_t bytes = ::copy_file_range(fd_of_handle(from), &from_at, fd_of_handle(to), &to_at, length, 0);
  return bytes >= 0 ? Result<std::size_t>(static_cast<std::size_t>(bytes)) : failed();
}

Result<HandleId> Mirror::open_directory(NodeId node) {
  DIR* directory = ::opendir(proc_path(node).c_str());
  return directory != nullptr ? Result<HandleId>(reinterpret_cast<HandleId>(directory)) : failed();
}

Status Mirror::read_directory(NodeId, HandleId handle, std::uint64_t cookie, const TakeEntry& take) {
  auto* directory = reinterpret_cast<DIR*>(handle);
  cookie == 0 ? ::rewinddir(directory) : ::seekdir(directory, static_cast<long>(cookie));
  while (const dirent* each = ::readdir(directory)) {
    if (!take({each->d_name, each->d_ino, each->d_type, static_cast<std::uint64_t>(each->d_off)})) {
      break;
    }
  }
  return {};
}

void Mirror::release_directory(NodeId, HandleId handle) { ::closedir(reinterpret_cast<DIR*>(handle)); }

Result<struct statvfs> Mirror::statistics() {
  struct statvfs status {};
  return ::fstatvfs(fd_of(kRootNode), &status) == 0 ? Result<struct statvfs>(status) : failed();
}

Result<std::string> Mirror::xattr(NodeId node, const char* name) {
  std::string value(65536, '\0');
  const ssize_t bytes = ::getxattr(proc_path(node).c_str(), name, value.data(), value.size());
  return bytes >= 0 ? Result<std::string>(value.substr(0, static_cast<std::size_t>(bytes))) : failed();
}

Result<std::string> Mirror::xattr_names(NodeId node) {
  std::string names(65536, '\0');
  const ssize_t bytes = ::listxattr(proc_path(node).c_str(), names.data(), names.size());
  return bytes >= 0 ? Result<std::string>(names.substr(0, static_cast<std::size_t>(bytes))) : failed();
}

Status Mirror::set_xattr(NodeId node, const char* name, std::string_view value, int flags) {
  return done(::setxattr(proc_path(node).c_str(), name, value.data(), value.size(), flags));
}

Status Mirror::remove_xattr(NodeId node, const char* name) { return done(::removexattr(proc_path(node).c_str(), name)); }

}  // namespace sbench::test
