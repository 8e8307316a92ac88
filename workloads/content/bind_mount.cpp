#include "workloads/content/bind_mount.h"

#include <sys/mount.h>

#include <utility>

namespace sbench {

Result<BindMount> BindMount::attach(const std::filesystem::path& source, const std::filesystem::path& target) {
  if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return errno_error("cannot bind mount {} at {}", source.string(), target.string());
  }
  return BindMount(target);
}

BindMount::BindMount(BindMount&& other) noexcept : target_(std::exchange(other.target_, {})) {}

BindMount::~BindMount() {
  if (!target_.empty()) {
    ::umount2(target_.c_str(), MNT_DETACH);
  }
}

Status BindMount::detach() {
  const std::filesystem::path target = std::exchange(target_, {});
  return ::umount2(target.c_str(), 0) == 0 ? Status() : Status(errno_error("cannot unmount {}", target.string()));
}

}  // namespace sbench
