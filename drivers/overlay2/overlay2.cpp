// overlay2.cpp: the overlay2 driver: one overlay mount over up to 128 layer directories.
//
// Two engines show the same layers: the kernel's overlayfs, and union_fs in its
// overlay dialect over FUSE. A store may be opened with either.
//
// On the backing file system:
//   layers/ID/diff     what the layer changed, in overlayfs' own notation
//   layers/ID/link     the layer's short name
//   layers/ID/lower    "l/NAME:l/NAME": its ancestors, nearest first (children only)
//   layers/ID/work, merged    overlayfs' work directory and the mount point (children only)
//   l/NAME             -> ../layers/ID/diff; short, so that 128 of them fit in a page of mount options
// A base layer needs no mount: its merged tree is its diff directory.
//
// index=on keeps part of a layer's truth in its work directory (index_links.h):
// the diff directory alone does not tell then, and commit makes it whole.
//
// In a user namespace the attributes are user.overlay.* (userxattr), and the kernel follows no redirects.
//
// volatile=on: overlayfs marks the work directory at mount and refuses to mount
// it again. The mark is removed before each mount: the promise given up is the
// one about a crash, and a benchmark's store is made afresh after a crash.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/backing/metadata.h"
#include "drivers/backing/overlay_mount.h"
#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/user_namespace.h"
#include "drivers/driver.h"
#include "drivers/fuse/served_driver.h"
#include "drivers/layer/copy_tree.h"
#include "drivers/layer/upper_diff.h"
#include "drivers/overlay2/index_links.h"
#include "drivers/union_fs/union_fs.h"

namespace sbench {

namespace {

constexpr int kLowersMax = 128;
constexpr std::size_t kLinkChars = 26;

bool kernel_can(const Options& options);

/// Whether union_fs shows the layers.
bool in_userspace(const Options& options) {
  const auto& engine = options.at("engine");
  return engine == "userspace" || (engine == "auto" && !kernel_can(options));
}

/// The options that decide what is in the store.
Options without_engine(Options options) {
  options.erase("engine");
  return options;
}

/// A short name for a layer; distinct for distinct ids (104 bits of a hash).
std::string link_name(const LayerId& id) {
  std::string name = sha256_hex(id).substr(0, kLinkChars);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c; });
  return name;
}

/// redirect_dir=auto follows metacopy, which cannot work without it.
std::string redirect_dir_of(const Options& options) {
  const auto& value = options.at("redirect_dir");
  return value != "auto" ? value : options.at("metacopy") == "on" ? "on" : "off";
}

Status check_options(const Options& options) {
  if (options.at("metacopy") == "on" && redirect_dir_of(options) != "on") {
    return plain_error(EINVAL,
                       "overlay2: metacopy=on needs redirect_dir=on, not {}: leave redirect_dir out or set it to on",
                       redirect_dir_of(options));
  }
  if (options.at("engine") == "userspace" && options.at("index") == "on") {
    return plain_error(EINVAL, "overlay2: engine=userspace keeps no index: leave index out, or use engine=kernel");
  }
  if (options.at("engine") == "userspace" && redirect_dir_of(options) == "nofollow") {
    return plain_error(EINVAL, "overlay2: engine=userspace always follows redirects: use redirect_dir=follow");
  }
  return {};
}

std::string features_of(const Options& options) {
  if (in_user_namespace()) {
    return kUserxattrFeatures;
  }
  return fmt::format("index={},metacopy={},redirect_dir={}", options.at("index"), options.at("metacopy"),
                     redirect_dir_of(options));
}

Capabilities capabilities_of(const Options& options) {
  Capabilities capabilities;
  capabilities.native_diff =
      options.at("metacopy") == "off" && redirect_dir_of(options) != "on" && options.at("index") == "off";
  capabilities.copies_whole_file = parse_backing(options) == BackingType::ext4;
  capabilities.shares_page_cache = true;
  capabilities.depth_layers_max = kLowersMax;
  return capabilities;
}

Status write_small_file(const std::filesystem::path& path, const std::string& text) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  return write_all(fd.get(), text, path.string());
}

Status make_directory(const std::filesystem::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0) {
    return errno_error("cannot make {}", path.string());
  }
  return {};
}

class Overlay2Driver final : public fuse::ServedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY(check_options(options));
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker("overlay2", without_engine(options), "volatile")));
    SBENCH_TRY(make_directories(root / "layers"));
    SBENCH_TRY(make_directories(root / "l"));
    return std::unique_ptr<Driver>(new Overlay2Driver(std::move(store), options, in_userspace(options)));
  }

  Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) override {
    SBENCH_TRY_SET(const bool native, reads_alone(id, parent));
    return native ? write_upper(diff_of(id), WhiteoutStyle::overlay, tar) : BackedDriver::diff(id, parent, tar);
  }

  Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) override {
    SBENCH_TRY_SET(const bool native, reads_alone(id, parent));
    if (!native) {
      return BackedDriver::changes(id, parent);
    }
    SBENCH_TRY_SET(const auto ancestors, table().ancestors(id));
    std::vector<std::filesystem::path> lowers;
    lowers.reserve(ancestors.size());
    for (const auto& ancestor : ancestors) {
      lowers.push_back(diff_of(ancestor));
    }
    return upper_changes(diff_of(id), WhiteoutStyle::overlay, lowers);
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Engine", userspace_ ? "union_fs over FUSE (userspace)" : "overlayfs (kernel)");
    rows.emplace_back("Supports d_type", "true");  // every backing is made with it
    rows.emplace_back("Native Overlay Diff", capabilities().native_diff ? "true" : "false");
    rows.emplace_back("userxattr", in_user_namespace() ? "true" : "false");
    rows.emplace_back("Overlay Mount Options", "noatime," + features_of(options_) + volatile_suffix());
    rows.emplace_back("Lower Layers Max", std::to_string(kLowersMax));
    return rows;
  }

  Capabilities capabilities() const override { return capabilities_of(options_); }

 private:
  Overlay2Driver(Store store, Options options, bool userspace)
      : ServedDriver(std::move(store)),
        options_(std::move(options)),
        userspace_(userspace) {}

  std::filesystem::path layer_of(const LayerId& id) const { return root() / "layers" / id; }
  std::filesystem::path diff_of(const LayerId& id) const { return layer_of(id) / "diff"; }
  std::filesystem::path changes_of(const LayerId& id) const override { return diff_of(id); }
  std::filesystem::path shown_at(const LayerId& id) const override { return layer_of(id) / "merged"; }
  WhiteoutStyle whiteout_style() const override { return WhiteoutStyle::overlay; }
  std::filesystem::path link_of(const LayerId& id) const { return root() / "l" / link_name(id); }
  std::string volatile_suffix() const { return options_.at("volatile") == "on" ? ",volatile" : ""; }

  /// Whether the diff directory alone says what `id` changed relative to `parent`.
  Result<bool> reads_alone(const LayerId& id, const ParentId& parent) const {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (parent) {
      SBENCH_TRY(table().find(*parent));
    }
    return row.parent == parent && capabilities().native_diff;
  }

  Status make_link(const LayerId& id) const {
    const auto target = std::filesystem::path("..") / "layers" / id / "diff";
    if (::symlink(target.c_str(), link_of(id).c_str()) != 0) {
      return errno_error("cannot make {}", link_of(id).string());
    }
    return write_small_file(layer_of(id) / "link", link_name(id));
  }

  /// The `lower` file's text: what a child of `parent` is stacked on.
  Result<std::string> lowers_of_child(const LayerId& parent) const {
    SBENCH_TRY_SET(const auto row, table().find(parent));
    std::string lowers = "l/" + link_name(parent);
    if (row.parent) {
      SBENCH_TRY_SET(const auto above, read_text(layer_of(parent) / "lower"));
      lowers += ":" + above;
    }
    return lowers;
  }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    std::string lowers;
    if (parent) {
      SBENCH_TRY_SET(lowers, lowers_of_child(*parent));
      if (std::count(lowers.begin(), lowers.end(), ':') + 1 > kLowersMax) {
        return plain_error(EINVAL, "overlay2 stacks at most {} layers below a new one; {} has {} already", kLowersMax,
                           *parent, kLowersMax);
      }
    }
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    SBENCH_TRY(make_directory(layer_of(key), 0710));
    SBENCH_TRY(make_directory(diff_of(key), 0755));
    SBENCH_TRY(make_link(key));
    if (!parent) {
      return {};
    }
    SBENCH_TRY(write_small_file(layer_of(key) / "lower", lowers));
    SBENCH_TRY(make_directory(layer_of(key) / "work", 0700));
    SBENCH_TRY(make_directory(layer_of(key) / "merged", 0700));
    return copy_directory_metadata(diff_of(*parent), diff_of(key));
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    SBENCH_TRY(check_not_shown(key));
    if (::access(layer_of(key).c_str(), F_OK) == 0) {  // else it was moved before it was interrupted
      SBENCH_TRY(take_in_index(key));
      SBENCH_TRY(remove_tree(layer_of(key) / "work"));  // its index would add to link counts
      if (name == key) {
        return {};
      }
      SBENCH_TRY(delete_layer(name));  // what a killed process may have left
      if (::rename(layer_of(key).c_str(), layer_of(name).c_str()) != 0) {
        return errno_error("cannot rename {}", layer_of(key).string());
      }
    }
    SBENCH_TRY(remove_tree(link_of(key)));
    SBENCH_TRY(remove_tree(link_of(name)));
    return make_link(name);
  }

  Status take_in_index(const LayerId& key) {
    SBENCH_TRY_SET(const auto row, table().find(key));
    if (options_.at("index") == "off" || !row.parent) {
      return {};
    }
    SBENCH_TRY_SET(const bool needed, has_index_links(diff_of(key)));
    if (!needed) {
      return {};
    }
    SBENCH_TRY_SET(const auto shown, show_layer(key));
    Status copied = copy_up_index_links(diff_of(key), shown.path);
    SBENCH_TRY(hide_layer(key));
    return copied;
  }

  Status delete_layer(const LayerId& id) override {
    SBENCH_TRY(check_not_shown(id));
    SBENCH_TRY(remove_tree(link_of(id)));
    return remove_tree(layer_of(id));
  }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent) {
      return Shown{diff_of(id)};
    }
    const auto merged = layer_of(id) / "merged";
    bool adopted = false;
    if (servers().finds(id, merged, adopted)) {
      return Shown{merged, adopted};
    }
    const bool writable = row.kind == LayerTable::Kind::active;
    if (writable && options_.at("volatile") == "on") {
      SBENCH_TRY(remove_tree(layer_of(id) / "work" / "work" / "incompat"));
    }
    SBENCH_TRY(userspace_ ? serve(id, writable, merged) : mount_kernel(id, writable));
    return Shown{merged, false};
  }

  Status mount_kernel(const LayerId& id, bool writable) {
    const std::string layer = "layers/" + id;
    OverlayMount overlay{root(), {}, {}, {}, layer + "/merged", features_of(options_)};
    SBENCH_TRY_SET(overlay.lowers, read_text(layer_of(id) / "lower"));
    if (writable) {
      overlay.upper = layer + "/diff";
      overlay.work = layer + "/work";
      overlay.features += volatile_suffix();
    } else {
      overlay.lowers = "l/" + link_name(id) + ":" + overlay.lowers;
    }
    return mount_overlay(overlay);
  }

  Status serve(const LayerId& id, bool writable, const std::filesystem::path& merged) {
    UnionOptions wanted;
    wanted.dialect = UnionDialect::overlay;
    wanted.userxattr = in_user_namespace();
    wanted.redirect_dir = redirect_dir_of(options_) == "on";
    wanted.metacopy = options_.at("metacopy") == "on";
    wanted.sync = options_.at("volatile") == "on" ? UnionSync::none : UnionSync::copy_up;
    if (writable) {
      wanted.upper = diff_of(id);
      wanted.work = layer_of(id) / "work";
    } else {
      wanted.lower.push_back(diff_of(id));
    }
    SBENCH_TRY_SET(const auto ancestors, table().ancestors(id));
    for (const auto& ancestor : ancestors) {
      wanted.lower.push_back(diff_of(ancestor));
    }
    fuse::ServerOptions server;
    server.session.name = "overlay2";
    return servers().show(id, merged, server, [wanted] { return open_union(wanted); });
  }

  Status hide_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    return row.parent ? servers().hide(id, layer_of(id) / "merged") : Status();
  }

  Options options_;
  bool userspace_;
};

Availability probe_kernel(const Options& options) {
  if (auto overlay = probe_overlay(); !overlay.available) {
    return overlay;
  }
  for (const auto* feature : {"index", "metacopy", "redirect_dir"}) {
    const bool wanted =
        (feature == std::string("redirect_dir") ? redirect_dir_of(options) : options.at(feature)) != "off";
    const auto parameter = std::filesystem::path("/sys/module/overlay/parameters") / feature;
    if (wanted && ::access(parameter.c_str(), F_OK) != 0) {
      return Availability::no(fmt::format("this kernel's overlayfs has no {}", feature),
                              fmt::format("use a newer kernel, or {}=off", feature));
    }
  }
  return probe_backing(parse_backing(options));
}

bool kernel_can(const Options& options) { return probe_kernel(options).available; }

Availability probe_overlay2(const Options& options) {
  const auto& engine = options.at("engine");
  if (const auto status = check_options(options); !status.ok()) {
    return Availability::no(status.error().what, "change the options");
  }
  for (const auto* feature : {"index", "metacopy", "redirect_dir"}) {
    const bool asked = options.at(feature) == "on" || options.at(feature) == "follow";
    if (asked && in_user_namespace()) {
      return Availability::no(
          fmt::format("there is no {}={} in a user namespace: any user could forge what it relies on", feature, options.at(feature)),
          fmt::format("leave {} out, or run sbench as root, or with --in uml", feature));
    }
  }
  Availability kernel = engine != "userspace" ? probe_kernel(options) : Availability();
  if (kernel.available || engine == "kernel" || options.at("index") == "on") {
    return kernel;
  }
  Availability userspace = fuse::probe_fuse();
  if (userspace.available) {
    userspace = probe_backing(parse_backing(options));
    userspace.engine = EngineClass::userspace;
  }
  return userspace.available || engine == "userspace" ? userspace : kernel;
}

}  // namespace

DriverSpec overlay2_driver() {
  const std::vector<std::string> on_off = {"off", "on"};
  DriverSpec spec;
  spec.name = "overlay2";
  spec.summary = "overlayfs: layer directories, merged at mount; first write copies the file up";
  spec.options = {
      {"engine", "auto", "the kernel's overlayfs, or sbench's union_fs over FUSE; auto: the kernel's where it has one",
       {"auto", "kernel", "userspace"}},
      backing_option(),
      {"metacopy", "off", "copy up metadata alone on chown, chmod, …", on_off},
      {"redirect_dir",
       "auto",
       "let lower directories be renamed; auto: as metacopy",
       {"auto", "on", "off", "follow", "nofollow"}},
      {"index", "off", "keep hard links together at copy-up", on_off},
      {"volatile", "off", "no sync reaches the backing through the mount", on_off},
  };
  spec.capabilities = capabilities_of(complete_options(spec, {}));
  spec.probe = probe_overlay2;
  spec.format = [](Device& device, const Options& options) -> Status {
    SBENCH_TRY(check_options(options));
    return Backing::format(device, parse_backing(options));
  };
  spec.open = Overlay2Driver::open;
  return spec;
}

}  // namespace sbench
