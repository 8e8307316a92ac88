#include "drivers/fuse/layer_servers.h"

#include <fcntl.h>
#include <unistd.h>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"

namespace sbench::fuse {

namespace {
constexpr int kUnmountPatience_ms = 1000;
}

Availability probe_fuse() {
  if (!may_mount()) {
    return Availability::no("mounting needs root (CAP_SYS_ADMIN)", "run sbench as root, or with --in uml",
                            EngineClass::userspace);
  }
  if (!kernel_has_file_system("fuse") || ::access("/dev/fuse", R_OK | W_OK) != 0) {
    return Availability::no("the kernel offers no FUSE: /dev/fuse cannot be opened",
                            "load its module: modprobe fuse; in a container, add the device /dev/fuse",
                            EngineClass::userspace);
  }
  return Availability::yes(EngineClass::userspace);
}

bool LayerServers::finds(const LayerId& id, const std::filesystem::path& target, bool& adopted) {
  adopted = false;
  if (!is_mount_point(target)) {
    servers_.erase(id);
    return false;
  }
  if (!servers_.contains(id)) {
    adopted = true;  // also when its server is dead: the mount is somebody's to take down
    if (auto server = ServerProcess::adopt(target, record_of(id)); server.ok()) {
      servers_.emplace(id, std::move(server).value());
    }
  }
  return true;
}

Status LayerServers::show(const LayerId& id, const std::filesystem::path& target, const ServerOptions& options,
                          const ServerProcess::MakeFileSystem& make) {
  SBENCH_TRY_SET(servers_[id], ServerProcess::start(target, options, make));
  return {};
}

Status LayerServers::show_program(const LayerId& id, const std::filesystem::path& target, const ServerOptions& options,
                                  const std::vector<std::string>& command) {
  SBENCH_TRY_SET(servers_[id], ServerProcess::start_program(target, options, command));
  return {};
}

Status LayerServers::hide(const LayerId& id, const std::filesystem::path& target) {
  const auto found = servers_.find(id);
  Status stopped =
      found != servers_.end() && found->second != nullptr ? found->second->stop() : unmount(target, kUnmountPatience_ms);
  if (stopped.ok() || stopped.error().code != EBUSY) {
    servers_.erase(id);
    ::unlink(record_of(id).c_str());  // most layers have none
  }
  return stopped;
}

Status LayerServers::leave(const LayerId& id) {
  const auto found = servers_.find(id);
  if (found == servers_.end()) {
    return {};
  }
  SBENCH_TRY(make_directories(records_));
  return found->second->leave(record_of(id));
}

Status LayerServers::write_back() const {
  for (const auto& [id, server] : servers_) {
    const auto root = open_file(server->target(), O_RDONLY | O_DIRECTORY);
    if (root.ok() && ::syncfs(root->get()) != 0 && server->alive()) {
      return errno_error("cannot sync {}", server->target().string());
    }
  }
  return {};
}

}  // namespace sbench::fuse
