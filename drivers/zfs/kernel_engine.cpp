// kernel_engine.cpp: OpenZFS in the kernel, worked through its own programs, as an engine of the zfs driver.
#include <unistd.h>

#include "drivers/backing/mount_point.h"
#include "drivers/base/process.h"
#include "drivers/base/user_namespace.h"
#include "drivers/zfs/tool_pool.h"

namespace sbench::zfs {

namespace {

Availability probe(const Options&) {
  if (!kernel_has_file_system("zfs")) {
    return Availability::no("the kernel has no zfs: its module is not loaded and does not load",
                            "install OpenZFS for this kernel (Debian: zfs-dkms), then modprobe zfs; or run with --in uml, "
                            "after sudo ./quickstart uml-zfs");
  }
  if (!may_mount()) {
    return Availability::no("zfs needs root (CAP_SYS_ADMIN)", "run sbench as root, or with --in uml");
  }
  if (in_user_namespace()) {
    return Availability::no("a zpool is imported by the machine's root alone, not a user namespace's",
                            "run sbench as root, or with --in uml; engine=userspace can run here");
  }
  if (find_program("zpool").empty() || find_program("zfs").empty()) {
    return Availability::no("the programs zpool and zfs are not installed", "install the package zfsutils-linux");
  }
  if (std::filesystem::exists(std::filesystem::path(find_program("zpool")).parent_path() / "zfs-fuse")) {
    return Availability::no("the programs zpool and zfs here are those of zfs-fuse",
                            "install the package zfsutils-linux in place of zfs-fuse");
  }
  if (::access("/dev/zfs", R_OK | W_OK) != 0) {
    return Availability::no("there is no /dev/zfs", "load the module: modprobe zfs");
  }
  return Availability::yes();
}

}  // namespace

const Engine& kernel_engine() {
  static const Engine engine = {"kernel", EngineClass::kernel, probe, ToolPool::format, ToolPool::open};
  return engine;
}

}  // namespace sbench::zfs
