#include "tests/conformance/posix_operations.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "drivers/base/hash.h"
#include "drivers/layer/tree_walk.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

struct KindFacts {
  OperationKind kind;
  const char* name;
  unsigned weight;
};
using Kind = OperationKind;
constexpr KindFacts kKinds[] = {
    {Kind::write_new, "write", 16},       {Kind::overwrite, "overwrite", 8},
    {Kind::append, "append", 6},          {Kind::truncate, "truncate", 4},
    {Kind::read, "read", 6},              {Kind::unlink, "unlink", 7},
    {Kind::make_directory, "mkdir", 9},   {Kind::remove_directory, "rmdir", 4},
    {Kind::rename, "rename", 9},          {Kind::rename_no_replace, "rename_no_replace", 3},
    {Kind::rename_exchange, "rename_exchange", 3}, {Kind::link, "link", 3},
    {Kind::symlink, "symlink", 4},        {Kind::read_link, "readlink", 2},
    {Kind::make_fifo, "mkfifo", 1},       {Kind::make_device, "mknod", 1},
    {Kind::chmod, "chmod", 5},            {Kind::chown, "chown", 4},
    {Kind::utimes, "utimes", 4},          {Kind::set_xattr, "setxattr", 4},
    {Kind::remove_xattr, "removexattr", 2}, {Kind::get_xattr, "getxattr", 2},
    {Kind::set_acl, "setfacl", 2},        {Kind::list, "list", 5},
    {Kind::stat, "stat", 6},              {Kind::punch_hole, "punch_hole", 2},
    {Kind::copy_range, "copy_range", 2},  {Kind::map_shared, "mmap", 3},
    {Kind::open_slot, "open", 4},         {Kind::write_slot, "write_open", 4},
    {Kind::read_slot, "read_open", 3},    {Kind::close_slot, "close", 2},
    {Kind::remove_tree, "rm -r", 1},
};
static_assert(std::size(kKinds) == static_cast<std::size_t>(Kind::count));

constexpr std::uint64_t kSlots = 4;
constexpr std::uint64_t kOldSeconds = 1'000'000'000;  ///< September 2001

Kind draw_kind(Rng& rng) {
  unsigned total = 0;
  for (const auto& facts : kKinds) {
    total += facts.weight;
  }
  auto left = rng.below(total);
  for (const auto& facts : kKinds) {
    if (left < facts.weight) {
      return facts.kind;
    }
    left -= facts.weight;
  }
  return Kind::stat;
}

/// Few names, so that operations meet each other; directories and files share them.
std::string draw_path(Rng& rng, const std::string& top) {
  static const std::array<const char*, 6> names = {"a", "b", "c", "d", "e", "a name of its own"};
  std::string path = top;
  const auto depth = 1 + rng.below(3);
  for (std::uint64_t level = 0; level < depth; ++level) {
    path += (path.empty() ? "" : "/") + std::string(names[rng.below(names.size())]);
  }
  return path;
}

/// POSIX lets a file system choose between two words for a directory that is not empty.
std::string error_name() { return errno == ENOTEMPTY ? "EEXIST" : ::strerrorname_np(errno); }

std::string outcome(int result) { return result < 0 ? error_name() : "ok"; }

/// Bytes that follow from the operation, compressible in part.
std::string content_of(const Operation& operation) {
  Rng rng(operation.number, operation.path);
  std::string bytes(operation.size, '\0');
  for (auto& byte : bytes) {
    byte = static_cast<char>('a' + rng.below(16));
  }
  return bytes;
}

std::string hash_of(int fd) {
  std::string bytes;
  std::array<char, 65536> buffer;
  off_t offset = 0;
  for (;;) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (count < 0) {
      return error_name();
    }
    if (count == 0) {
      break;
    }
    bytes.append(buffer.data(), static_cast<std::size_t>(count));
    offset += count;
  }
  return fmt::format("ok {} bytes {:016x}", bytes.size(), xxh3({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}));
}

std::string write_at(int fd, std::string_view bytes, std::uint64_t offset, bool append) {
  while (!bytes.empty()) {
    const ssize_t count = append ? ::write(fd, bytes.data(), bytes.size())
                                 : ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      return error_name();
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return "ok";
}

/// An access ACL with one named user: acl(5)'s version 2 as it is stored in the xattr.
std::string acl_text(std::uint64_t number) {
  struct Item {
    std::uint16_t tag, permissions;
    std::uint32_t id;
  };
  const auto bits = [&](unsigned shift) { return static_cast<std::uint16_t>((number >> shift) & 7); };
  const std::uint32_t nobody = 0xffffffff;
  const Item items[] = {{0x01, bits(0), nobody}, {0x02, bits(3), 4711}, {0x04, bits(6), nobody},
                        {0x10, bits(9), nobody}, {0x20, bits(12), nobody}};
  std::string text("\x02\0\0\0", 4);
  return text.append(reinterpret_cast<const char*>(items), sizeof items);
}

bool is_regular(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// The file for reading or writing; anything but a regular file is left alone (`fd` -1, errno says why).
Fd open_regular(const std::string& path, int flags) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    errno = ENXIO;
    return Fd();
  }
  return Fd(::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0640));
}

std::string list_names(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error) {
    errno = error.value();
    return error_name();
  }
  std::sort(names.begin(), names.end());
  return fmt::format("ok {}", fmt::join(names, ","));
}

std::string stat_text(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) < 0) {
    return error_name();
  }
  const bool directory = S_ISDIR(status.st_mode);
  return fmt::format("ok {:o} {}:{} size {} names {}", status.st_mode, status.st_uid, status.st_gid,
                     directory ? 0 : status.st_size, directory ? 0 : status.st_nlink);
}

}  // namespace

const char* to_string(OperationKind kind) {
  for (const auto& facts : kKinds) {
    if (facts.kind == kind) {
      return facts.name;
    }
  }
  return "?";
}

std::string Operation::text() const {
  return fmt::format("{}({}{}{}, {}, {})", to_string(kind), path, other.empty() ? "" : " -> ", other, number, size);
}

std::vector<Operation> draw_operations(Rng& rng, std::size_t count, const std::string& top) {
  std::vector<Operation> operations(count);
  for (auto& operation : operations) {
    operation.kind = draw_kind(rng);
    operation.path = draw_path(rng, top);
    switch (operation.kind) {
      case Kind::rename: case Kind::rename_no_replace: case Kind::rename_exchange: case Kind::link: case Kind::copy_range:
        operation.other = draw_path(rng, top);
        break;
      default:
        break;
    }
    operation.number = rng.next() & 0xffffff;
    operation.size = rng.below(5) == 0 ? rng.below(300'000) : rng.below(5'000);
  }
  return operations;
}

std::string PosixTree::write_with(const Operation& operation, int flags, bool at_offset) {
  const Fd fd = open_regular(at(operation.path), flags);
  if (!fd.valid()) {
    return error_name();
  }
  return write_at(fd.get(), content_of(operation), at_offset ? operation.number % 200'000 : 0, (flags & O_APPEND) != 0);
}

std::string PosixTree::slot(const Operation& operation) {
  const std::uint64_t number = operation.number % kSlots;
  if (operation.kind == Kind::open_slot) {
    slots_.erase(number);
    Fd fd = open_regular(at(operation.path), O_RDWR);
    if (!fd.valid()) {
      return error_name();
    }
    slots_[number] = std::move(fd);
    return "ok";
  }
  const auto found = slots_.find(number);
  if (found == slots_.end()) {
    return "closed";
  }
  switch (operation.kind) {
    case Kind::write_slot:
      return write_at(found->second.get(), content_of(operation), operation.number % 100'000, false);
    case Kind::read_slot:
      return hash_of(found->second.get());
    default:
      slots_.erase(found);
      return "ok";
  }
}

std::string PosixTree::apply(const Operation& operation) {
  if (leaves_alone(operation)) {
    return kLeftAlone;
  }
  const std::string path = at(operation.path);
  const std::string other = at(operation.other);
  const char* name = path.c_str();
  switch (operation.kind) {
    case Kind::write_new:
      return write_with(operation, O_WRONLY | O_CREAT | O_TRUNC, false);
    case Kind::overwrite:
      return write_with(operation, O_WRONLY, true);
    case Kind::append:
      return write_with(operation, O_WRONLY | O_APPEND, false);
    case Kind::truncate:
      return is_regular(path) ? outcome(::truncate(name, static_cast<off_t>(operation.number % 100'000))) : "skipped";
    case Kind::read: {
      const Fd fd = open_regular(path, O_RDONLY);
      return fd.valid() ? hash_of(fd.get()) : error_name();
    }
    case Kind::unlink:
      return outcome(::unlink(name));
    case Kind::make_directory:
      return outcome(::mkdir(name, 0700 | (operation.number & 077)));
    case Kind::remove_directory:
      return outcome(::rmdir(name));
    case Kind::rename:
      return outcome(::rename(name, other.c_str()));
    case Kind::rename_no_replace:
      return outcome(::renameat2(AT_FDCWD, name, AT_FDCWD, other.c_str(), RENAME_NOREPLACE));
    case Kind::rename_exchange:
      return outcome(::renameat2(AT_FDCWD, name, AT_FDCWD, other.c_str(), RENAME_EXCHANGE));
    case Kind::link:
      return outcome(::link(name, other.c_str()));
    case Kind::symlink:
      return outcome(::symlink(fmt::format("to {}", operation.number).c_str(), name));
    case Kind::read_link: {
      std::array<char, 256> target;
      const ssize_t size = ::readlink(name, target.data(), target.size());
      return size < 0 ? error_name() : "ok " + std::string(target.data(), static_cast<std::size_t>(size));
    }
    case Kind::make_fifo:
      return outcome(::mkfifo(name, 0600));
    case Kind::make_device:
      return outcome(::mknod(name, S_IFCHR | 0600, makedev(1, 1 + operation.number % 7)));
    case Kind::chmod:
      return outcome(::fchmodat(AT_FDCWD, name, 0400 | (operation.number & 07777), AT_SYMLINK_NOFOLLOW));
    case Kind::chown:
      return outcome(::lchown(name, operation.number % 3, (operation.number >> 8) % 3));
    case Kind::utimes: {
      const timespec time = {static_cast<time_t>(kOldSeconds + operation.number), static_cast<long>(operation.size)};
      const timespec times[2] = {time, time};
      return outcome(::utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW));
    }
    case Kind::set_xattr: {
      const std::string value = std::to_string(operation.number);
      return outcome(::lsetxattr(name, operation.number % 2 == 0 ? "user.one" : "user.two", value.data(), value.size(), 0));
    }
    case Kind::remove_xattr:
      return outcome(::lremovexattr(name, operation.number % 2 == 0 ? "user.one" : "user.two"));
    case Kind::get_xattr: {
      std::array<char, 64> value;
      const ssize_t size = ::lgetxattr(name, "user.one", value.data(), value.size());
      return size < 0 ? error_name() : "ok " + std::string(value.data(), static_cast<std::size_t>(size));
    }
    case Kind::set_acl: {
      const std::string value = acl_text(operation.number);
      return outcome(::lsetxattr(name, "system.posix_acl_access", value.data(), value.size(), 0));
    }
    case Kind::list:
      return list_names(path);
    case Kind::stat:
      return stat_text(path);
    case Kind::punch_hole: {
      const Fd fd = open_regular(path, O_RDWR);
      return fd.valid() ? outcome(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                              static_cast<off_t>(operation.number % 50'000),
                                              static_cast<off_t>(operation.size + 1)))
                        : error_name();
    }
    case Kind::copy_range: {
      const Fd from = open_regular(path, O_RDONLY);
      const Fd to = from.valid() ? open_regular(other, O_WRONLY) : Fd();
      struct stat a {}, b {};
      if (!to.valid()) {
        return error_name();
      }
      if (::fstat(from.get(), &a) == 0 && ::fstat(to.get(), &b) == 0 && a.st_ino == b.st_ino) {
        return "the same file";
      }
      off_t at = 0;
      return outcome(static_cast<int>(::copy_file_range(from.get(), &at, to.get(), nullptr, operation.size + 1, 0)));
    }
    case Kind::map_shared: {
      const Fd fd = open_regular(path, O_RDWR);
      struct stat status {};
      if (!fd.valid() || ::fstat(fd.get(), &status) < 0) {
        return error_name();
      }
      const std::size_t size = static_cast<std::size_t>(status.st_size);
      if (size == 0) {
        return "empty";
      }
      void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      if (memory == MAP_FAILED) {
        return error_name();
      }
      static_cast<char*>(memory)[operation.number % size] = 'M';
      const int result = ::msync(memory, size, MS_SYNC);
      ::munmap(memory, size);
      return outcome(result);
    }
    case Kind::open_slot: case Kind::write_slot: case Kind::read_slot: case Kind::close_slot:
      return slot(operation);
    case Kind::remove_tree: {
      std::error_code error;
      std::filesystem::remove_all(path, error);
      errno = error.value();
      return error ? error_name() : "ok";
    }
    case Kind::count:
      break;
  }
  return "unknown";
}

FileSet hard_linked_files(const std::filesystem::path& root) {
  FileSet files;
  must(walk_tree(root, [&](const Visited& file) -> Result<WalkStep> {
    if (!file.is_directory() && file.status.st_nlink > 1) {
      files.emplace(file.status.st_dev, file.status.st_ino);
    }
    return WalkStep::enter;
  }));
  return files;
}

bool PosixTree::leaves_alone(const Operation& operation) const {
  const auto holds = [&](const std::string& path) {
    struct stat status {};
    return !path.empty() && ::lstat(at(path).c_str(), &status) == 0 &&
           left_alone_.contains({status.st_dev, status.st_ino});
  };
  return !left_alone_.empty() && (holds(operation.path) || holds(operation.other));
}

void set_old_times(const std::filesystem::path& root) {
  std::vector<std::string> paths;
  must(walk_tree(root, [&](const Visited& file) -> Result<WalkStep> {
    paths.push_back(file.path);
    return WalkStep::enter;
  }));
  std::map<std::pair<std::uint64_t, std::uint64_t>, bool> seen;
  for (const auto& path : paths) {
    struct stat status {};
    const std::string full = (root / path).string();
    if (::lstat(full.c_str(), &status) < 0 || std::exchange(seen[{status.st_dev, status.st_ino}], true)) {
      continue;  // the first of several names gives the time
    }
    const timespec time = {static_cast<time_t>(kOldSeconds + Rng(1, path).below(1'000'000)), 0};
    const timespec times[2] = {time, time};
    ::utimensat(AT_FDCWD, full.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
}

}  // namespace sbench::test
