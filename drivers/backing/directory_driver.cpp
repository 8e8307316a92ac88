#include "drivers/backing/directory_driver.h"

#include <sys/stat.h>
#include <unistd.h>

#include "drivers/backing/extents.h"
#include "drivers/base/file.h"
#include "drivers/layer/copy_tree.h"

namespace sbench {

namespace {

class DirectoryDriver final : public BackedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(DirectoryDriverKind kind, Device& device, const Options& options,
                                              const std::filesystem::path& root) {
    SBENCH_TRY_SET(auto backing, Backing::mount(device, parse_backing(options), root));
    SBENCH_TRY_SET(auto store, open_store(std::move(backing), describe_maker(kind.name, options)));
    SBENCH_TRY(make_directories(root / "dirs"));
    return std::unique_ptr<Driver>(new DirectoryDriver(std::move(store), kind));
  }

  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY(table().find(id));
    SBENCH_TRY_SET(const auto measured, clones() ? measure_unshared(tree_of(id)) : measure_tree(tree_of(id)));
    return Usage{measured.bytes_allocated, measured.inodes};
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    auto rows = BackedDriver::status();
    rows.emplace_back("Copies", clones() ? "share data blocks (FICLONE)" : "have data blocks of their own");
    return rows;
  }

  Capabilities capabilities() const override {
    Capabilities capabilities;
    capabilities.copies_at_prepare = true;
    return capabilities;
  }

 private:
  DirectoryDriver(Store store, DirectoryDriverKind kind) : BackedDriver(std::move(store)), kind_(kind) {}

  bool clones() const { return kind_.clones && backing().has_reflink(); }
  std::filesystem::path tree_of(const LayerId& id) const { return root() / "dirs" / id; }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    if (::mkdir(tree_of(key).c_str(), 0755) != 0) {
      return errno_error("cannot make {}", tree_of(key).string());
    }
    if (parent) {
      SBENCH_TRY(copy_tree(tree_of(*parent), tree_of(key), kind_.clones ? CopyMode::copy : CopyMode::copy_data));
    }
    return {};
  }

  Status commit_layer(const LayerId& name, const LayerId& key) override {
    if (name == key || ::access(tree_of(key).c_str(), F_OK) != 0) {  // moved before it was interrupted
      return {};
    }
    SBENCH_TRY(delete_layer(name));  // what a killed process may have left
    if (::rename(tree_of(key).c_str(), tree_of(name).c_str()) != 0) {
      return errno_error("cannot rename {}", tree_of(key).string());
    }
    return {};
  }

  Status delete_layer(const LayerId& id) override { return remove_tree(tree_of(id)); }
  Result<Shown> show_layer(const LayerId& id) override { return Shown{tree_of(id)}; }
  Status hide_layer(const LayerId&) override { return {}; }

  DirectoryDriverKind kind_;
};

}  // namespace

DriverSpec directory_driver_spec(DirectoryDriverKind kind) {
  DriverSpec spec;
  spec.name = kind.name;
  spec.options = {backing_option()};
  spec.capabilities.copies_at_prepare = true;
  spec.probe = [](const Options& options) { return probe_backing(parse_backing(options)); };
  spec.format = [](Device& device, const Options& options) { return Backing::format(device, parse_backing(options)); };
  spec.open = [kind](Device& device, const Options& options, const std::filesystem::path& root) {
    return DirectoryDriver::open(kind, device, options, root);
  };
  return spec;
}

}  // namespace sbench
