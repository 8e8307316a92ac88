// fuse_engine.cpp: zfs-fuse as an engine of the zfs driver: a peer, to be compared with.
//
// The same code as for OpenZFS (tool_pool.h), but for what its programs do not have: temporary names,
// mounts by mount(2) and `zpool sync`. A dataset is mounted by giving it a mount point, and a
// transaction group is waited for by setting a property, which is written with it. It takes a
// whole device as it is.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "drivers/backing/mount_point.h"
#include "drivers/base/process.h"
#include "drivers/base/user_namespace.h"
#include "drivers/zfs/fuse_daemon.h"
#include "drivers/zfs/tool_pool.h"

namespace sbench::zfs {

namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "sbench";

class FusePool final : public ToolPool {
 public:
  FusePool(const Device& device, const Options& options, const std::shared_ptr<FuseDaemon>& daemon)
      : ToolPool(kName, device, options, false, daemon), daemon_(*daemon) {}

  Status mount(DatasetId id, const fs::path& target, bool) override {
    SBENCH_TRY(run_tool({"zfs", "set", "mountpoint=" + target.string(), dataset(id)}));
    if (!is_mount_point(target)) {
      SBENCH_TRY(run_tool({"zfs", "mount", dataset(id)}));
    }
    watches_[id] = daemon_.watch(target);
    return {};
  }

  Status unmount(DatasetId id, const fs::path&) override {
    SBENCH_TRY(run_tool({"zfs", "set", "mountpoint=legacy", dataset(id)}));
    watches_.erase(id);
    return {};
  }

  Result<PoolSpace> usage() override {
    SBENCH_TRY_SET(const auto used, number("used"));
    SBENCH_TRY_SET(const auto available, number("available"));
    return PoolSpace{used, used + available};
  }

  Status sync() override {
    SBENCH_TRY(run_tool({"zfs", "set", "sbench:group=" + std::to_string(++groups_), kName}));
    return {};
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    return {{"Zpool", kName}, {"Version", "zfs-fuse, pool version 23"}, {"Daemon", daemon_.alive() ? "runs" : "has died"}};
  }

 private:
  static Result<std::uint64_t> number(const char* property) {
    SBENCH_TRY_SET(const auto text, run_tool({"zfs", "get", "-Hpo", "value", property, kName}));
    return std::strtoull(text.c_str(), nullptr, 10);
  }

  FuseDaemon& daemon_;
  std::map<DatasetId, std::unique_ptr<fuse::Watch>> watches_;
  std::uint64_t groups_ = 0;
};

Availability probe(const Options& options) {
  const auto no = [](const std::string& reason, const std::string& remedy) {
    return Availability::no(reason, remedy, EngineClass::userspace);
  };
  const std::string program = find_program("zfs-fuse");
  if (program.empty()) {
    return no("zfs-fuse is not installed", "install the package zfs-fuse");
  }
  if (fs::path(find_program("zpool")).parent_path() != fs::path(program).parent_path()) {
    return no("the programs zpool and zfs here are not those of zfs-fuse", "install the package zfs-fuse alone");
  }
  if (!may_mount() || ::access("/dev/fuse", R_OK | W_OK) != 0) {
    return no("zfs-fuse needs root (CAP_SYS_ADMIN) and /dev/fuse", "run sbench as root");
  }
  if (in_user_namespace()) {
    return no("zfs-fuse wants a block device, and a user namespace has none", "run sbench as root");
  }
  if (const auto& record = options.at("recordsize"); record == "256K" || record == "512K" || record == "1M") {
    return no("zfs-fuse's records end at 128K", "use a recordsize of at most 128K");
  }
  if (options.at("sync") != "standard") {
    return no("zfs-fuse has no property sync", "use sync=standard");
  }
  if (const auto& compression = options.at("compression"); compression != "off" && compression != "gzip") {
    return no("zfs-fuse has no compression=" + compression, "use compression=off or gzip");
  }
  return Availability::yes(EngineClass::userspace);
}

Status format(Device& device, const Options& options) {
  SBENCH_TRY(ToolPool::check_size(device));
  device.release_exclusive();
  SBENCH_TRY_SET(const auto daemon, FuseDaemon::start());
  std::vector<std::string> create = {"zpool", "create", "-f", "-o", "cachefile=none",
                                     "-o", "failmode=continue", "-o", "ashift=" + options.at("ashift"),
                                     "-O", "mountpoint=legacy"};
  ToolPool::add_properties(create, options);
  create.insert(create.end(), {kName, device.path()});
  SBENCH_TRY(run_tool(create));
  return ToolPool::make_first_datasets(kName);
}

Result<std::unique_ptr<Datasets>> open(Device& device, const Options& options, const fs::path&) {
  device.release_exclusive();
  SBENCH_TRY_SET(auto daemon, FuseDaemon::start());
  SBENCH_TRY_SET(const std::string directory, daemon->directory_of(device.path()));
  SBENCH_TRY(run_tool({"zpool", "import", "-f", "-o", "cachefile=none", "-d", directory, kName}));
  return std::unique_ptr<Datasets>(new FusePool(device, options, daemon));
}

}  // namespace

const Engine& fuse_engine() {
  static const Engine engine = {"zfs-fuse", EngineClass::userspace, probe, format, open};
  return engine;
}

}  // namespace sbench::zfs
