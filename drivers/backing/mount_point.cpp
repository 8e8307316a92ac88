#include "drivers/backing/mount_point.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "drivers/backing/while_busy.h"
#include "drivers/base/fd.h"
#include "drivers/base/file.h"

namespace sbench {

namespace {

/// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
std::string unescape_octal(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

bool is_mount_point(const std::filesystem::path& path) {
  struct statx info {};
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &info) == 0 &&
         (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Status check_not_shown_on(const std::filesystem::path& path, const std::string& id) {
  if (is_mount_point(path)) {
    return plain_error(EBUSY, "layer {} is mounted on {}", id, path.string());
  }
  return {};
}

std::optional<MountedFileSystem> find_mount(const std::filesystem::path& path) {
  const auto text = read_text("/proc/self/mountinfo");
  if (!text.ok()) {
    return std::nullopt;
  }
  std::error_code failure;  // the mount itself is not touched: a file system that hangs, or is dead, is found too
  const auto plain = path.has_filename() ? path : path.parent_path();
  const std::string wanted = (std::filesystem::canonical(plain.parent_path(), failure) / plain.filename()).string();
  std::optional<MountedFileSystem> found;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string device;
    std::string target;
    fields >> skipped >> skipped >> device >> skipped >> target;
    if (unescape_octal(target) != wanted) {
      continue;
    }
    while (fields >> skipped && skipped != "-") {  // optional fields end with a dash
    }
    MountedFileSystem mounted;
    fields >> mounted.type >> mounted.source;
    mounted.source = unescape_octal(mounted.source);
    mounted.device_minor = static_cast<unsigned>(std::strtoul(device.c_str() + device.find(':') + 1, nullptr, 10));
    found = mounted;
  }
  return found;
}

std::optional<std::filesystem::path> mount_point_of_device(const std::string& block_device) {
  struct stat status {};
  const auto text = read_text("/proc/self/mountinfo");
  if (!text.ok() || ::stat(block_device.c_str(), &status) != 0) {
    return std::nullopt;
  }
  const std::string wanted = fmt::format("{}:{}", ::major(status.st_rdev), ::minor(status.st_rdev));
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string numbers;
    std::string target;
    fields >> skipped >> skipped >> numbers >> skipped >> target;
    if (numbers == wanted) {
      return unescape_octal(target);
    }
  }
  return std::nullopt;
}

Status unmount(const std::filesystem::path& path, int patience_ms) {
  constexpr int kStep_ms = 5;
  return while_busy(patience_ms, kStep_ms, [&] {
    return ::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0 ? Status()
                                                         : Status(errno_error("cannot unmount {}", path.string()));
  });
}

bool may_mount() {
  constexpr int kCapSysAdmin = 21;  // linux/capability.h
  const auto text = read_text("/proc/self/status");
  if (!text.ok()) {
    return false;
  }
  const std::size_t at = text->find("CapEff:");
  return at != std::string::npos && ((std::strtoull(text->c_str() + at + 7, nullptr, 16) >> kCapSysAdmin) & 1U) != 0;
}

bool kernel_has_file_system(const std::string& type) {
  const auto text = read_text("/proc/filesystems");
  if (text.ok() && text->find("\t" + type + "\n") != std::string::npos) {
    return true;
  }
  return Fd(static_cast<int>(::syscall(SYS_fsopen, type.c_str(), 0U))).valid();
}

}  // namespace sbench
