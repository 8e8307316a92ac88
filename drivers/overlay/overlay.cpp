// overlay.cpp: Docker's first overlay driver: one lower, which is a complete hard-linked tree.
//
// On the backing file system:
//   layers/ID/root     the layer's whole merged tree; files it shares with its
//                      parent are hard links, so it is never written in place
//   layers/ID/upper, work, merged    an active child: overlay upper, work and mount point
//
// A base layer has `root` alone. An active child is an overlay of its upper on
// its parent's root, or on a root of its own once a tar was unpacked into it.
// Committing makes the root of its own (one link a file, one inode a directory)
// and folds the upper into it.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "drivers/backing/backed_driver.h"
#include "drivers/backing/metadata.h"
#include "drivers/backing/mount_point.h"
#include "drivers/backing/overlay_mount.h"
#include "drivers/base/file.h"
#include "drivers/base/user_namespace.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/copy_tree.h"
#include "drivers/overlay/fold.h"

namespace sbench {

namespace {

constexpr int kUnmountPatience_ms = 1000;

const char* features() {
  return in_user_namespace() ? kUserxattrFeatures : "index=off,metacopy=off,redirect_dir=off";
}

Capabilities capabilities_of(BackingType backing) {
  Capabilities capabilities;
  capabilities.copies_whole_file = backing == BackingType::ext4;
  capabilities.shares_page_cache = true;
  return capabilities;
}

bool path_exists(const std::filesystem::path& path) { return ::access(path.c_str(), F_OK) == 0; }

Status make_directory(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0755) != 0) {
    return errno_error("cannot make {}", path.string());
  }
  return {};
}

/// Calls `visit(inode information)` for `root` and everything below.
template <typename Visit>
Status walk(const std::filesystem::path& root, Visit&& visit) {
  std::error_code failure;
  std::filesystem::recursive_directory_iterator it(root, failure);
  struct stat info {};
  if (!failure && ::lstat(root.c_str(), &info) == 0) {
    visit(info);
  }
  for (const std::filesystem::recursive_directory_iterator end; !failure && it != end; it.increment(failure)) {
    if (::lstat(it->path().c_str(), &info) != 0) {
      return errno_error("cannot inspect {}", it->path().string());
    }
    visit(info);
  }
  if (failure) {
    return make_error(failure.value(), "cannot walk {}", root.string());
  }
  return {};
}

class OverlayDriver final : public BackedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker("overlay", options)));
    SBENCH_TRY(make_directories(root / "layers"));
    return std::unique_ptr<Driver>(new OverlayDriver(std::move(store)));
  }

  /// What the layer does not share with its parent: files by inode, and its directories.
  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    std::set<ino_t> counted;
    Usage usage;
    if (row.parent) {
      SBENCH_TRY(walk(root_of(*row.parent), [&counted](const struct stat& info) { counted.insert(info.st_ino); }));
    }
    for (const auto* part : {"root", "upper"}) {
      if (path_exists(layer_of(id) / part)) {
        SBENCH_TRY(walk(layer_of(id) / part, [&](const struct stat& info) {
          if (counted.insert(info.st_ino).second) {
            usage.bytes_allocated += static_cast<std::uint64_t>(info.st_blocks) * 512;
            ++usage.inodes;
          }
        }));
      }
    }
    return usage;
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Supports d_type", "true");  // every backing is made with it
    rows.emplace_back("Overlay Mount Options", fmt::format("noatime,{}", features()));
    return rows;
  }

  Capabilities capabilities() const override { return capabilities_of(backing().type()); }

 private:
  explicit OverlayDriver(Store store) : BackedDriver(std::move(store)) {}

  std::filesystem::path layer_of(const LayerId& id) const { return root() / "layers" / id; }
  std::filesystem::path root_of(const LayerId& id) const { return layer_of(id) / "root"; }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    SBENCH_TRY(make_directory(layer_of(key)));
    if (!parent) {
      return make_directory(root_of(key));
    }
    for (const auto* part : {"upper", "work", "merged"}) {
      SBENCH_TRY(make_directory(layer_of(key) / part));
    }
    return copy_directory_metadata(root_of(*parent), layer_of(key) / "upper");
  }

  /// Gives a child a root of its own with everything it has been told so far; its upper is empty then.
  Status fold(const LayerId& key, const LayerId& parent) const {
    const auto upper = layer_of(key) / "upper";
    if (!path_exists(root_of(key))) {
      const auto unfinished = layer_of(key) / "root-unfinished";  // a root that exists is a whole one
      SBENCH_TRY(remove_tree(unfinished));
      SBENCH_TRY(make_directory(unfinished));
      SBENCH_TRY(copy_tree(root_of(parent), unfinished, CopyMode::hard_link));
      if (::rename(unfinished.c_str(), root_of(key).c_str()) != 0) {
        return errno_error("cannot rename {}", unfinished.string());
      }
    }
    SBENCH_TRY(fold_upper(upper, root_of(key)));
    SBENCH_TRY(remove_tree(upper));
    SBENCH_TRY(remove_tree(layer_of(key) / "work"));
    return {};
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    SBENCH_TRY(check_not_shown(key));
    SBENCH_TRY_SET(const auto row, table().find(key));
    if (!path_exists(layer_of(key))) {
      return {};  // moved before it was interrupted
    }
    if (row.parent) {
      SBENCH_TRY(fold(key, *row.parent));
      SBENCH_TRY(remove_tree(layer_of(key) / "merged"));
    }
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

  Status check_not_shown(const LayerId& id) const { return check_not_shown_on(layer_of(id) / "merged", id); }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    if (!row.parent || row.kind == LayerTable::Kind::committed) {
      return Shown{root_of(id)};
    }
    const auto merged = layer_of(id) / "merged";
    if (is_mount_point(merged)) {
      return Shown{merged, true};
    }
    const std::string layer = "layers/" + id;
    const std::string lower = path_exists(root_of(id)) ? layer + "/root" : "layers/" + *row.parent + "/root";
    SBENCH_TRY(mount_overlay({root(), lower, layer + "/upper", layer + "/work", layer + "/merged", features()}));
    return Shown{merged, false};
  }

  Status hide_layer(const LayerId& id) override {
    const auto merged = layer_of(id) / "merged";
    return is_mount_point(merged) ? unmount(merged, kUnmountPatience_ms) : Status();
  }

  Result<std::uint64_t> apply_layer_tar(const LayerId& key, ByteSource& tar) override {
    SBENCH_TRY_SET(const auto row, table().find(key));
    if (is_mounted(key) || !check_not_shown(key).ok()) {
      return BackedDriver::apply_layer_tar(key, tar);
    }
    if (row.parent) {
      SBENCH_TRY(fold(key, *row.parent));
    }
    SBENCH_TRY_SET(const std::uint64_t bytes, apply_layer(tar, root_of(key), WhiteoutStyle::erase));
    if (row.parent) {
      SBENCH_TRY(make_directory(layer_of(key) / "upper"));
      SBENCH_TRY(make_directory(layer_of(key) / "work"));
      SBENCH_TRY(copy_directory_metadata(root_of(key), layer_of(key) / "upper"));
    }
    return bytes;
  }
};

}  // namespace

DriverSpec overlay_driver() {
  DriverSpec spec;
  spec.name = "overlay";
  spec.summary = "Docker's legacy overlay: every layer a complete hard-linked tree, one lower";
  spec.options = {backing_option()};
  spec.capabilities = capabilities_of(BackingType::ext4);
  spec.probe = [](const Options& options) {
    const auto overlay = probe_overlay();
    return overlay.available ? probe_backing(parse_backing(options)) : overlay;
  };
  spec.format = [](Device& device, const Options& options) { return Backing::format(device, parse_backing(options)); };
  spec.open = OverlayDriver::open;
  return spec;
}

}  // namespace sbench
