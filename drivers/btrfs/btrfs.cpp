// btrfs.cpp: the btrfs driver: a subvolume a layer, a writable snapshot a child.
//
// On the device: subvolumes/ID. A committed layer is its subvolume, made
// read-only. Layers need no mount of their own: they are directories of the one
// file system. Deleting a subvolume only unlinks it; the kernel's cleaner gives
// the space back, and sync() waits for that, so that space figures are honest.
//
// usage(): without quota groups, the data extents made since the snapshot was
// taken; with them, the group's exclusive bytes for a layer without children
// (a parent's extents are shared with its children by their very nature).
// Metadata blocks are not counted, and btrfs has no inode accounting.
#include <unistd.h>

#include "drivers/backing/backed_driver.h"
#include "drivers/base/file.h"
#include "drivers/btrfs/subvolume.h"
#include "drivers/driver.h"

namespace sbench {

namespace {

std::string mount_data(const Options& options) {
  const auto& compression = options.at("compression");
  return compression == "none" ? "" : "compress=" + compression;
}

class BtrfsDriver final : public BackedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, BackingType::btrfs, root, mount_data(options)));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker("btrfs", options, "compression")));
    std::error_code failure;
    if (!std::filesystem::exists(root / "subvolumes", failure)) {
      if (options.at("quota") == "on") {
        SBENCH_TRY(btrfs::enable_quota(root));
      }
      SBENCH_TRY(make_directories(root / "subvolumes"));
    }
    SBENCH_TRY_SET(auto uncleaned, btrfs::deleted_subvolumes(root));
    return std::unique_ptr<Driver>(new BtrfsDriver(std::move(store), options, std::move(uncleaned)));
  }

  Status sync() override {
    if (uncleaned_.empty()) {
      return btrfs::commit_transaction(root());
    }
    SBENCH_TRY(btrfs::wait_until_cleaned(root()));
    if (has_quota()) {
      SBENCH_TRY(btrfs::remove_quota_groups(root(), uncleaned_));
      SBENCH_TRY(btrfs::commit_transaction(root()));
    }
    uncleaned_.clear();
    return {};
  }

  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    SBENCH_TRY(btrfs::commit_transaction(root()));
    if (has_quota() && !table().has_children(id)) {
      SBENCH_TRY(btrfs::wait_for_rescan(root()));
      SBENCH_TRY_SET(const std::uint64_t exclusive, btrfs::quota_exclusive_bytes(subvolume_of(id)));
      return Usage{exclusive, 0};
    }
    SBENCH_TRY_SET(const std::uint64_t bytes, btrfs::own_bytes(subvolume_of(id), row.parent.has_value()));
    return Usage{bytes, 0};
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Quota Groups", options_.at("quota"));
    rows.emplace_back("Compression", options_.at("compression"));
    return rows;
  }

  Capabilities capabilities() const override { return {}; }

 private:
  BtrfsDriver(Store store, Options options, std::vector<std::uint64_t> uncleaned)
      : BackedDriver(std::move(store)), options_(std::move(options)), uncleaned_(std::move(uncleaned)) {}

  bool has_quota() const { return options_.at("quota") == "on"; }
  std::filesystem::path subvolume_of(const LayerId& id) const { return root() / "subvolumes" / id; }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    return parent ? btrfs::snapshot_subvolume(subvolume_of(*parent), subvolume_of(key))
                  : btrfs::create_subvolume(subvolume_of(key));
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    if (name != key && ::access(subvolume_of(key).c_str(), F_OK) == 0) {  // else it was moved before it was interrupted
      SBENCH_TRY(delete_layer(name));  // what a killed process may have left
      if (::rename(subvolume_of(key).c_str(), subvolume_of(name).c_str()) != 0) {
        return errno_error("cannot rename {}", subvolume_of(key).string());
      }
    }
    return btrfs::set_read_only(subvolume_of(name), true);
  }

  Status delete_layer(const LayerId& id) override {
    std::error_code failure;
    if (!std::filesystem::exists(subvolume_of(id), failure)) {
      return {};
    }
    SBENCH_TRY_SET(const auto ids, btrfs::delete_subvolume(subvolume_of(id)));
    uncleaned_.insert(uncleaned_.end(), ids.begin(), ids.end());
    return {};
  }

  Result<Shown> show_layer(const LayerId& id) override { return Shown{subvolume_of(id)}; }
  Status hide_layer(const LayerId&) override { return {}; }

  Options options_;
  std::vector<std::uint64_t> uncleaned_;  ///< ids of subvolumes deleted since the last sync(), or before opening
};

}  // namespace

DriverSpec btrfs_driver() {
  DriverSpec spec;
  spec.name = "btrfs";
  spec.summary = "a subvolume a layer, snapshots for children; blocks are shared until written";
  spec.options = {
      {"quota", "off", "quota groups: exact exclusive space, at a price", {"off", "on"}},
      {"compression", "none", "transparent compression", {"none", "zstd", "lzo", "zlib"}},
  };
  spec.probe = [](const Options&) { return probe_backing(BackingType::btrfs); };
  spec.format = [](Device& device, const Options&) { return Backing::format(device, BackingType::btrfs); };
  spec.open = BtrfsDriver::open;
  return spec;
}

}  // namespace sbench
