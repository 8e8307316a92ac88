// aufs.cpp: the aufs driver: a union of one writable branch and the layers below it.
//
// Two engines show the same layers: the kernel's aufs, an out-of-tree patch, and
// union_fs in its aufs dialect over FUSE. Docker's layout on the backing file system:
//   layers/ID   ids of the layers below, nearest first, one a line
//   diff/ID     the layer's branch: what it changed, in aufs' notation (`.wh.` files)
//   mnt/ID      the mount point
// A base layer needs no union: its tree is its branch.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/aufs/aufs_mount.h"
#include "drivers/backing/metadata.h"
#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/fuse/served_driver.h"
#include "drivers/layer/copy_tree.h"
#include "drivers/layer/upper_diff.h"
#include "drivers/union_fs/union_fs.h"

namespace sbench {

namespace {

/// aufs is built for 127 branches by default; one of them is the writable one.
constexpr int kLowersMax = 126;

bool in_userspace(const Options& options) {
  const auto& engine = options.at("engine");
  return engine == "userspace" || (engine == "auto" && !kernel_has_file_system("aufs"));
}

Options without_engine(Options options) {
  options.erase("engine");
  return options;
}

Capabilities capabilities_of(const Options& options) {
  Capabilities capabilities;
  capabilities.native_diff = true;
  capabilities.copies_whole_file = parse_backing(options) == BackingType::ext4;
  capabilities.shares_page_cache = true;
  capabilities.depth_layers_max = kLowersMax;
  return capabilities;
}

Status make_directory(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0755) != 0) {
    return errno_error("cannot make {}", path.string());
  }
  return {};
}

class AufsDriver final : public fuse::ServedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker("aufs", without_engine(options))));
    for (const auto* folder : {"layers", "diff", "mnt"}) {
      SBENCH_TRY(make_directories(root / folder));
    }
    return std::unique_ptr<Driver>(new AufsDriver(std::move(store), options));
  }

  Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) override {
    SBENCH_TRY_SET(const bool native, reads_alone(id, parent));
    return native ? write_upper(branch_of(id), WhiteoutStyle::aufs, tar) : BackedDriver::diff(id, parent, tar);
  }

  Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) override {
    SBENCH_TRY_SET(const bool native, reads_alone(id, parent));
    if (!native) {
      return BackedDriver::changes(id, parent);
    }
    SBENCH_TRY_SET(const auto lowers, branches_below(id));
    return upper_changes(branch_of(id), WhiteoutStyle::aufs, lowers);
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Engine", userspace_ ? "union_fs over FUSE (userspace)" : "aufs (kernel)");
    rows.emplace_back("Root Dir", root().string());
    rows.emplace_back("Dirs", std::to_string(table().rows().size()));
    rows.emplace_back("Branches Max", std::to_string(kLowersMax + 1));
    return rows;
  }

  Capabilities capabilities() const override { return capabilities_of(options_); }

 private:
  AufsDriver(Store store, Options options)
      : ServedDriver(std::move(store)),
        options_(std::move(options)),
        userspace_(in_userspace(options_)) {}

  std::filesystem::path branch_of(const LayerId& id) const { return root() / "diff" / id; }
  std::filesystem::path changes_of(const LayerId& id) const override { return branch_of(id); }
  std::filesystem::path shown_at(const LayerId& id) const override { return mount_of(id); }
  WhiteoutStyle whiteout_style() const override { return WhiteoutStyle::aufs; }
  std::filesystem::path below_of(const LayerId& id) const { return root() / "layers" / id; }
  std::filesystem::path mount_of(const LayerId& id) const { return root() / "mnt" / id; }

  /// Whether the branch alone says what `id` changed relative to `parent`.
  Result<bool> reads_alone(const LayerId& id, const ParentId& parent) const {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (parent) {
      SBENCH_TRY(table().find(*parent));
    }
    return row.parent == parent;
  }

  Result<std::vector<std::filesystem::path>> branches_below(const LayerId& id) const {
    SBENCH_TRY_SET(const auto ancestors, table().ancestors(id));
    std::vector<std::filesystem::path> branches;
    branches.reserve(ancestors.size());
    for (const auto& ancestor : ancestors) {
      branches.push_back(branch_of(ancestor));
    }
    return branches;
  }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    std::string below;
    if (parent) {
      SBENCH_TRY_SET(const auto ancestors, table().ancestors(*parent));
      if (ancestors.size() + 1 > kLowersMax) {
        return plain_error(EINVAL, "aufs stacks at most {} branches below the writable one; {} and those below it are {}",
                           kLowersMax, *parent, ancestors.size() + 1);
      }
      below = *parent + "\n";
      for (const auto& ancestor : ancestors) {
        below += ancestor + "\n";
      }
    }
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    SBENCH_TRY(make_directory(branch_of(key)));
    SBENCH_TRY(make_directory(mount_of(key)));
    SBENCH_TRY_SET(const Fd file, open_file(below_of(key), O_WRONLY | O_CREAT | O_TRUNC));
    SBENCH_TRY(write_all(file.get(), below, below_of(key).string()));
    return parent ? copy_directory_metadata(branch_of(*parent), branch_of(key)) : Status();
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    SBENCH_TRY(check_not_shown(key));
    if (name == key) {
      return {};
    }
    for (const auto& [from, to] : {std::pair(branch_of(key), branch_of(name)), std::pair(below_of(key), below_of(name)),
                                   std::pair(mount_of(key), mount_of(name))}) {
      if (::access(from.c_str(), F_OK) != 0 && ::access(to.c_str(), F_OK) == 0) {
        continue;  // moved before it was interrupted
      }
      SBENCH_TRY(remove_tree(to));  // what a killed process may have left
      if (::rename(from.c_str(), to.c_str()) != 0) {
        return errno_error("cannot rename {}", from.string());
      }
    }
    return {};
  }

  Status delete_layer(const LayerId& id) override {
    SBENCH_TRY(check_not_shown(id));
    SBENCH_TRY(remove_tree(mount_of(id)));
    SBENCH_TRY(remove_tree(branch_of(id)));
    return remove_tree(below_of(id));
  }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent) {
      return Shown{branch_of(id)};
    }
    bool adopted = false;
    if (servers().finds(id, mount_of(id), adopted)) {
      return Shown{mount_of(id), adopted};
    }
    SBENCH_TRY_SET(auto branches, branches_below(id));
    const bool writable = row.kind == LayerTable::Kind::active;
    if (userspace_) {
      SBENCH_TRY(serve(id, writable, std::move(branches)));
    } else {
      SBENCH_TRY(mount_aufs({branch_of(id), writable, std::move(branches)}, mount_of(id)));
    }
    return Shown{mount_of(id), false};
  }

  Status serve(const LayerId& id, bool writable, std::vector<std::filesystem::path> branches) {
    UnionOptions wanted;
    wanted.dialect = UnionDialect::aufs;
    wanted.lower = std::move(branches);
    if (writable) {
      wanted.upper = branch_of(id);
    } else {
      wanted.lower.insert(wanted.lower.begin(), branch_of(id));
    }
    fuse::ServerOptions server;
    server.session.name = "aufs";
    return servers().show(id, mount_of(id), server, [wanted] { return open_union(wanted); });
  }

  Status hide_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent) {
      return {};
    }
    return userspace_ ? servers().hide(id, mount_of(id)) : unmount_aufs(mount_of(id));
  }

  Options options_;
  bool userspace_;
};

Availability probe(const Options& options) {
  const bool userspace = in_userspace(options);
  if (!userspace && !kernel_has_file_system("aufs")) {
    return Availability::no("the kernel has no aufs: /proc/filesystems does not list it and no module loads",
                            "use a kernel with the aufs patches (aufs.sourceforge.net), or engine=userspace");
  }
  if (auto fuse = fuse::probe_fuse(); userspace && !fuse.available) {
    return fuse;
  }
  auto backing = !userspace && parse_backing(options) == BackingType::btrfs
                     ? Availability::no("the kernel's aufs takes no btrfs as its backing", "use backing=ext4")
                     : probe_backing(parse_backing(options));
  backing.engine = userspace ? EngineClass::userspace : EngineClass::kernel;
  return backing;
}

}  // namespace

DriverSpec aufs_driver() {
  DriverSpec spec;
  spec.name = "aufs";
  spec.summary = "the classic union of branches; first write copies the file up";
  spec.options = {
      {"engine", "auto", "the kernel's aufs, or sbench's union_fs over FUSE; auto: the kernel's where it has one",
       {"auto", "kernel", "userspace"}},
      backing_option(),
  };
  spec.capabilities = capabilities_of(complete_options(spec, {}));
  spec.probe = probe;
  spec.format = [](Device& device, const Options& options) { return Backing::format(device, parse_backing(options)); };
  spec.open = AufsDriver::open;
  return spec;
}

}  // namespace sbench
