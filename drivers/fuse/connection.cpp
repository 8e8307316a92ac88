#include "drivers/fuse/connection.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <sstream>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"

namespace sbench::fuse {

namespace {

/// A descriptor of fusectl's root that is mounted nowhere: /sys/fs/fuse/connections is empty on many systems.
Result<int> control_root() {
  static const int root = [] {
    const Fd context(static_cast<int>(::syscall(SYS_fsopen, "fusectl", 1U /* FSOPEN_CLOEXEC */)));
    constexpr unsigned kCreate = 6;  // FSCONFIG_CMD_CREATE
    if (!context.valid() || ::syscall(SYS_fsconfig, context.get(), kCreate, nullptr, nullptr, 0) != 0) {
      return -errno;
    }
    const int fd = static_cast<int>(::syscall(SYS_fsmount, context.get(), 1U /* FSMOUNT_CLOEXEC */, 0U));
    return fd >= 0 ? fd : -errno;
  }();
  if (root < 0) {
    return make_error(-root, "cannot reach the kernel's FUSE control files");
  }
  return root;
}

Fd open_control(std::uint32_t number, const char* file, int flags) {
  const auto root = control_root();
  return Fd(root.ok() ? ::openat(*root, fmt::format("{}/{}", number, file).c_str(), flags | O_CLOEXEC) : -1);
}

}  // namespace

std::optional<Connection> Connection::find(const std::filesystem::path& target) {
  const auto mounted = find_mount(target);
  if (!mounted || !mounted->type.starts_with("fuse")) {
    return std::nullopt;
  }
  Connection connection;
  connection.number_ = mounted->device_minor;
  connection.abort_ = open_control(mounted->device_minor, "abort", O_WRONLY);
  return connection;
}

std::optional<std::uint64_t> Connection::waiting_requests() const {
  const Fd fd = open_control(number_, "waiting", O_RDONLY);  // an open one goes on telling what it told first
  char text[32] = {};
  const ssize_t bytes = ::read(fd.get(), text, sizeof(text) - 1);
  std::uint64_t waiting = 0;
  if (bytes <= 0 || std::from_chars(text, text + bytes, waiting).ec != std::errc()) {
    return std::nullopt;
  }
  return waiting;
}

Status Connection::abort() const {
  return abort_.valid() ? write_all(abort_.get(), "1", "abort of a FUSE connection")
                        : Status(plain_error(ENOENT, "the kernel's FUSE control files cannot be reached"));
}

}  // namespace sbench::fuse
