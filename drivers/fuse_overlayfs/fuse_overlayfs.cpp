// fuse_overlayfs.cpp: the distribution's fuse-overlayfs program, run for each mount.
//
// On the backing file system, as overlay2's without its links:
//   layers/ID/diff, work, merged    the layer's changes in overlayfs' notation, the
//                                   program's work directory, the mount point (children only)
// Diffs are made by comparing trees, as Docker and containers/storage do for it:
// what the program writes is its own dialect of overlayfs' notation.
#include <sys/stat.h>

#include "drivers/backing/backed_driver.h"
#include "drivers/backing/metadata.h"
#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/fuse/layer_servers.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/copy_tree.h"

namespace sbench {

namespace {

constexpr const char* kProgram = "fuse-overlayfs";
constexpr int kLowersMax = 500;  // containers/storage's limit

Capabilities capabilities_of(const Options& options) {
  Capabilities capabilities;
  capabilities.copies_whole_file = parse_backing(options) == BackingType::ext4;
  capabilities.depth_layers_max = kLowersMax;
  return capabilities;
}

class FuseOverlayfsDriver final : public BackedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker(kProgram, options)));
    SBENCH_TRY(make_directories(root / "layers"));
    return std::unique_ptr<Driver>(new FuseOverlayfsDriver(std::move(store), options));
  }

  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY(table().find(id));
    SBENCH_TRY_SET(const auto measured, measure_tree(diff_of(id)));
    return Usage{measured.bytes_allocated, measured.inodes};
  }

  Status sync() override {
    SBENCH_TRY(servers_.write_back());
    return BackedDriver::sync();
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Engine", std::string(kProgram) + " (userspace)");
    if (const auto version = run_program({kProgram, "--version"}); version.ok()) {
      rows.emplace_back("Version", version->stdout_text.substr(0, version->stdout_text.find('\n')));
    }
    rows.emplace_back("Native Overlay Diff", "false");
    return rows;
  }

  Capabilities capabilities() const override { return capabilities_of(options_); }

 private:
  FuseOverlayfsDriver(Store store, Options options)
      : BackedDriver(std::move(store)), options_(std::move(options)), servers_(root() / "servers") {}

  std::filesystem::path layer_of(const LayerId& id) const { return root() / "layers" / id; }
  std::filesystem::path diff_of(const LayerId& id) const { return layer_of(id) / "diff"; }
  std::filesystem::path merged_of(const LayerId& id) const { return layer_of(id) / "merged"; }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    if (parent) {
      SBENCH_TRY_SET(const auto ancestors, table().ancestors(*parent));
      if (ancestors.size() + 1 > kLowersMax) {
        return plain_error(EINVAL, "{} stacks at most {} layers below a new one", kProgram, kLowersMax);
      }
    }
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    SBENCH_TRY(make_directories(diff_of(key)));
    if (!parent) {
      return {};
    }
    SBENCH_TRY(make_directories(layer_of(key) / "work"));
    SBENCH_TRY(make_directories(merged_of(key)));
    return copy_directory_metadata(diff_of(*parent), diff_of(key));
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    SBENCH_TRY(check_not_shown(key));
    SBENCH_TRY(remove_tree(layer_of(key) / "work"));
    if (name == key) {
      return {};
    }
    SBENCH_TRY(delete_layer(name));  // what a killed process may have left
    if (::rename(layer_of(key).c_str(), layer_of(name).c_str()) != 0) {
      return errno_error("cannot rename {}", layer_of(key).string());
    }
    return {};
  }

  Status delete_layer(const LayerId& id) override {
    SBENCH_TRY(check_not_shown(id));
    return remove_tree(layer_of(id));
  }

  Status check_not_shown(const LayerId& id) const { return check_not_shown_on(merged_of(id), id); }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent) {
      return Shown{diff_of(id)};
    }
    bool adopted = false;
    if (servers_.finds(id, merged_of(id), adopted)) {
      return Shown{merged_of(id), adopted};
    }
    SBENCH_TRY_SET(const auto command, command_for(id, row.kind == LayerTable::Kind::active));
    fuse::ServerOptions server;
    server.session.name = kProgram;
    SBENCH_TRY(servers_.show_program(id, merged_of(id), server, command));
    return Shown{merged_of(id), false};
  }

  Result<std::vector<std::string>> command_for(const LayerId& id, bool writable) const {
    SBENCH_TRY_SET(auto lowers, table().ancestors(id));
    if (!writable) {
      lowers.insert(lowers.begin(), id);
    }
    std::string options = "lowerdir=";
    for (const auto& lower : lowers) {
      options += (options.back() == '=' ? "" : ":") + diff_of(lower).string();
    }
    if (writable) {
      options += fmt::format(",upperdir={},workdir={}", diff_of(id).string(), (layer_of(id) / "work").string());
    }
    return std::vector<std::string>{kProgram, "-f", "-o", options + ",noatime,suid,dev,allow_other,default_permissions",
                                    merged_of(id).string()};
  }

  Status hide_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    return row.parent ? servers_.hide(id, merged_of(id)) : Status();
  }

  Status remember_shown(const LayerId& id, bool shown) override {
    SBENCH_TRY(shown ? servers_.leave(id) : Status());
    return BackedDriver::remember_shown(id, shown);
  }

  Result<std::uint64_t> apply_layer_tar(const LayerId& key, ByteSource& tar) override {
    SBENCH_TRY_SET(const auto row, table().find(key));
    if (is_mounted(key) || !check_not_shown(key).ok()) {
      return BackedDriver::apply_layer_tar(key, tar);
    }
    return apply_layer(tar, diff_of(key), row.parent ? WhiteoutStyle::overlay : WhiteoutStyle::erase);
  }

  Options options_;
  fuse::LayerServers servers_;
};

Availability probe(const Options& options) {
  if (auto fuse = fuse::probe_fuse(); !fuse.available) {
    return fuse;
  }
  if (find_program(kProgram).empty()) {
    return Availability::no(fmt::format("the program {} is not installed", kProgram),
                            fmt::format("install the package {}", kProgram), EngineClass::userspace);
  }
  auto backing = probe_backing(parse_backing(options));
  backing.engine = EngineClass::userspace;
  return backing;
}

}  // namespace

DriverSpec fuse_overlayfs_driver() {
  DriverSpec spec;
  spec.name = kProgram;
  spec.summary = "the fuse-overlayfs program: overlayfs' layers, merged in user space";
  spec.options = {backing_option()};
  spec.capabilities = capabilities_of(complete_options(spec, {}));
  spec.probe = probe;
  spec.format = [](Device& device, const Options& options) { return Backing::format(device, parse_backing(options)); };
  spec.open = FuseOverlayfsDriver::open;
  return spec;
}

}  // namespace sbench
