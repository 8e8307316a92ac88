// fuse_overlayfs.cpp: the distribution's fuse-overlayfs program, run for each mount.
//
// On the backing file system, as overlay2's without its links:
//   layers/ID/diff, work, merged    the layer's changes in overlayfs' notation, the
//                                   program's work directory, the mount point (children only)
// Diffs are made by comparing trees, as Docker and containers/storage do for it:
// what the program writes is its own dialect of overlayfs' notation.
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/backing/metadata.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/fuse/served_driver.h"
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

class FuseOverlayfsDriver final : public fuse::ServedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker(kProgram, options)));
    SBENCH_TRY(make_directories(root / "layers"));
    return std::unique_ptr<Driver>(new FuseOverlayfsDriver(std::move(store), options));
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Engine", fmt::format("{} (userspace)", kProgram));
    if (const auto version = run_program({kProgram, "--version"}); version.ok()) {
      rows.emplace_back("Version", version->stdout_text.substr(0, version->stdout_text.find('\n')));
    }
    rows.emplace_back("Native Overlay Diff", "false");
    return rows;
  }

  Capabilities capabilities() const override { return capabilities_of(options_); }

 private:
  FuseOverlayfsDriver(Store store, Options options)
      : ServedDriver(std::move(store)), options_(std::move(options)) {}

  std::filesystem::path layer_of(const LayerId& id) const { return root() / "layers" / id; }
  std::filesystem::path diff_of(const LayerId& id) const { return layer_of(id) / "diff"; }
  std::filesystem::path changes_of(const LayerId& id) const override { return diff_of(id); }
  std::filesystem::path shown_at(const LayerId& id) const override { return merged_of(id); }
  WhiteoutStyle whiteout_style() const override { return WhiteoutStyle::overlay; }
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
    if (name == key || ::access(layer_of(key).c_str(), F_OK) != 0) {  // moved before it was interrupted
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

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent) {
      return Shown{diff_of(id)};
    }
    bool adopted = false;
    if (servers().finds(id, merged_of(id), adopted)) {
      return Shown{merged_of(id), adopted};
    }
    SBENCH_TRY_SET(const auto command, command_for(id, row.kind == LayerTable::Kind::active));
    fuse::ServerOptions server;
    server.session.name = kProgram;
    SBENCH_TRY(servers().show_program(id, merged_of(id), server, command));
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
    return row.parent ? servers().hide(id, merged_of(id)) : Status();
  }

  Options options_;
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
