#include "drivers/aufs/aufs_mount.h"

#include <sys/mount.h>
#include <unistd.h>

#include "drivers/backing/mount_point.h"
#include "drivers/base/process.h"

namespace sbench {

namespace {

constexpr int kUnmountPatience_ms = 500;

/// `dio`: O_DIRECT works; the table of inode numbers lies in memory, as in Docker: it lives as long as the mount.
constexpr const char* kFeatures = "dio,xino=/dev/shm/aufs.xino";
/// A branch's own permission bits decide for it, not those of the branches above.
constexpr const char* kDirperm = ",dirperm1";

int try_mount(const std::filesystem::path& target, unsigned long flags, const std::string& options) {
  return ::mount("none", target.c_str(), "aufs", flags, options.c_str()) == 0 ? 0 : errno;
}

}  // namespace

Status mount_aufs(const AufsMount& wanted, const std::filesystem::path& target) {
  const std::size_t bytes_max = static_cast<std::size_t>(::getpagesize()) - 1 - std::string(kFeatures).size() -
                                std::string(kDirperm).size() - 1;
  std::string branches = "br:" + wanted.top.string() + (wanted.writable ? "=rw" : "=ro+wh");
  std::size_t placed = 0;
  for (; placed < wanted.below.size(); ++placed) {
    const std::string next = ":" + wanted.below[placed].string() + "=ro+wh";
    if (branches.size() + next.size() > bytes_max) {
      break;
    }
    branches += next;
  }
  const std::string options = branches + "," + kFeatures;
  int code = try_mount(target, MS_NOATIME, options + kDirperm);
  if (code == EINVAL) {
    code = try_mount(target, MS_NOATIME, options);  // an aufs older than dirperm1
  }
  if (code != 0) {
    return make_error(code, "cannot mount aufs on {}", target.string());
  }
  for (; placed < wanted.below.size(); ++placed) {
    code = try_mount(target, MS_REMOUNT | MS_NOATIME, "append:" + wanted.below[placed].string() + "=ro+wh");
    if (code != 0) {
      static_cast<void>(unmount_aufs(target));
      return make_error(code, "cannot append branch {} to the aufs on {}", wanted.below[placed].string(), target.string());
    }
  }
  return {};
}

Status unmount_aufs(const std::filesystem::path& target) {
  if (!find_program("auplink").empty()) {
    SBENCH_TRY_SET([[maybe_unused]] const auto flushed, run_program({"auplink", target.string(), "flush"}));
  }
  return unmount(target, kUnmountPatience_ms);
}

}  // namespace sbench
