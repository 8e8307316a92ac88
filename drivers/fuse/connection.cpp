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

Result<Fd> open_control(ConnectionNumber number, const char* file, int flags) {
  SBENCH_TRY_SET(const int root, control_root());
  const std::string path = fmt::format("{}/{}", number, file);
  Fd fd(::openat(root, path.c_str(), flags | O_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot open the FUSE control file {}", path);
  }
  return fd;
}

}  // namespace

std::optional<ConnectionNumber> find_connection(const std::filesystem::path& target) {
  const auto mounted = find_mount(target);
  if (!mounted || !mounted->type.starts_with("fuse")) {
    return std::nullopt;
  }
  return mounted->device_minor;
}

std::optional<std::uint64_t> waiting_requests(ConnectionNumber number) {
  const auto fd = open_control(number, "waiting", O_RDONLY);
  char text[32] = {};
  if (!fd.ok()) {
    return std::nullopt;
  }
  const ssize_t bytes = ::read(fd->get(), text, sizeof(text) - 1);
  std::uint64_t waiting = 0;
  if (bytes <= 0 || std::from_chars(text, text + bytes, waiting).ec != std::errc()) {
    return std::nullopt;
  }
  return waiting;
}

Status abort_connection(ConnectionNumber number) {
  const auto fd = open_control(number, "abort", O_WRONLY);
  if (!fd.ok()) {
    return fd.error().code == ENOENT ? Status() : Status(fd.error());
  }
  return write_all(fd->get(), "1", "abort of a FUSE connection");
}

}  // namespace sbench::fuse
