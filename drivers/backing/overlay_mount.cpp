#include "drivers/backing/overlay_mount.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "drivers/backing/mount_point.h"
#include "drivers/base/fd.h"
#include "drivers/base/user_namespace.h"

namespace sbench {

namespace {

/// The option string, every name preceded by `prefix` ("" or "/store/").
std::string options_of(const OverlayMount& overlay, const std::string& prefix) {
  std::string text = "lowerdir=" + prefix;
  for (const char c : overlay.lowers) {
    text.push_back(c);
    if (c == ':') {
      text += prefix;
    }
  }
  if (!overlay.upper.empty()) {
    text += ",upperdir=" + prefix + overlay.upper + ",workdir=" + prefix + overlay.work;
  }
  text += overlay.features.empty() ? "" : "," + overlay.features;
  return in_user_namespace() ? text + ",userxattr" : text;
}

int mount_in_thread(const OverlayMount& overlay, const std::string& options) {
  int code = 0;
  std::thread([&] {
    if (::unshare(CLONE_FS) != 0 || ::chdir(overlay.base.c_str()) != 0 ||
        ::mount("overlay", overlay.target.c_str(), "overlay", MS_NOATIME, options.c_str()) != 0) {
      code = errno;
    }
  }).join();
  return code;
}

}  // namespace

Status mount_overlay(const OverlayMount& overlay) {
  const auto options_bytes_max = static_cast<std::size_t>(::getpagesize()) - 1;
  const std::string base = overlay.base.string() + "/";
  const bool plain_base = base.find_first_of(":,\\") == std::string::npos;
  const std::string options = options_of(overlay, base);
  int code = 0;
  if (plain_base && options.size() <= options_bytes_max) {
    const std::string target = base + overlay.target;
    code = ::mount("overlay", target.c_str(), "overlay", MS_NOATIME, options.c_str()) == 0 ? 0 : errno;
  } else {
    const std::string short_options = options_of(overlay, "");
    if (short_options.size() > options_bytes_max) {
      return plain_error(E2BIG, "cannot mount {}{}: its {} bytes of overlay options exceed a page", base,
                         overlay.target, short_options.size());
    }
    code = mount_in_thread(overlay, short_options);
  }
  if (code != 0) {
    return make_error(code, "cannot mount an overlay on {}{} ({}){}", base, overlay.target, overlay.features,
                      code == EINVAL && in_user_namespace()
                          ? "; the file system of --image-dir may not be able to hold an upper layer, as overlayfs and NFS cannot"
                          : "");
  }
  return {};
}

namespace {

/// Asks for an overlay without any layer: EPERM comes before the complaint about that. From a thread with a mount
/// namespace of its own: the process may not be in one that it may mount in yet.
bool may_mount_overlay_here() {
  bool may = false;
  std::thread([&may] {
    if (::unshare(CLONE_NEWNS) != 0) {
      return;
    }
    const Fd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
    may = context.valid() &&
          (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0 || errno != EPERM);
  }).join();
  return may;
}

}  // namespace

Availability probe_overlay() {
  if (!may_mount()) {
    return Availability::no("mounting needs root (CAP_SYS_ADMIN)", "run sbench as root, or with --in uml");
  }
  if (!kernel_has_file_system("overlay")) {
    return Availability::no("the kernel has no overlayfs",
                            "use a kernel with CONFIG_OVERLAY_FS, or load its module: modprobe overlay");
  }
  if (in_user_namespace() && !may_mount_overlay_here()) {
    return Availability::no("this kernel mounts overlayfs for the machine's root alone (Linux 5.11 lets user namespaces do it)",
                            "run sbench as root, or with --in uml; engine=userspace needs only FUSE");
  }
  return Availability::yes();
}

}  // namespace sbench
