#include "harness/session.h"

#include <sched.h>
#include <sys/mount.h>

#include "drivers/base/file.h"
#include "harness/journal.h"

namespace sbench {

std::filesystem::path runtime_directory() { return "/run/sbench"; }

Result<std::unique_ptr<Session>> Session::enter() {
  const auto roots = runtime_directory() / "roots";
  SBENCH_TRY(make_directories(roots));
  if (::unshare(CLONE_NEWNS) != 0) {
    return errno_error("cannot make a mount namespace");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("cannot make the mount namespace private");
  }
  for (const auto& store : journal_entries()) {  // copies of kept stores' mounts would hold their devices
    static_cast<void>(unmount_below(store / "root"));
  }
  if (::mount("sbench", roots.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) {
    return errno_error("cannot mount a tmpfs at {}", roots.string());
  }
  return std::unique_ptr<Session>(new Session());
}

Session::~Session() { ::umount2((runtime_directory() / "roots").c_str(), MNT_DETACH); }

Result<std::filesystem::path> Session::make_root(const std::string& name) {
  auto root = runtime_directory() / "roots" / name;
  SBENCH_TRY(make_directories(root));
  return root;
}

}  // namespace sbench
