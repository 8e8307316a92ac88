// null.cpp: stores nothing, to measure the harness itself.
//
// Layers are rows of a table in memory; a mounted layer is an empty directory
// on a small tmpfs (or, without the right to mount, on whatever holds the
// driver's root), and what is written there is gone when it is unmounted. The
// device is never touched.
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/layered_driver.h"

namespace sbench {

namespace {

class NullDriver final : public LayeredDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(const std::filesystem::path& root) {
    const bool mounted = may_mount() && !is_mount_point(root);
    if (mounted && ::mount("sbench-null", root.c_str(), "tmpfs", MS_NOATIME, "mode=0755") != 0) {
      return errno_error("cannot mount a tmpfs on {}", root.string());
    }
    return std::unique_ptr<Driver>(new NullDriver(root, mounted));
  }

  ~NullDriver() override {
    if (!settle_mounts() && mounted_) {
      ::umount2(root_.c_str(), MNT_DETACH);
    }
  }

  Status diff(const LayerId& id, const ParentId&, ByteSink& tar) override {
    SBENCH_TRY(table().find(id));
    const std::array<std::byte, 1024> end_of_archive{};
    return tar.write(end_of_archive);
  }
  Result<std::vector<Change>> changes(const LayerId& id, const ParentId&) override {
    SBENCH_TRY(table().find(id));
    return std::vector<Change>{};
  }
  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY(table().find(id));
    return Usage{};
  }
  Result<Usage> store_usage() override { return Usage{}; }
  Status sync() override { return {}; }
  std::vector<std::pair<std::string, std::string>> status() override {
    return {{"Backing Filesystem", mounted_ ? "tmpfs" : "the host's"}, {"Keeps", "nothing"}};
  }
  Capabilities capabilities() const override {
    Capabilities capabilities;
    capabilities.stores_layers = false;
    return capabilities;
  }

 private:
  NullDriver(std::filesystem::path root, bool mounted)
      : LayeredDriver(LayerTable::in_memory()), root_(std::move(root)), mounted_(mounted) {}

  Status create_layer(const LayerId&, const ParentId&) override { return {}; }
  Status commit_layer(const LayerId&, const LayerId&) override { return {}; }
  Status delete_layer(const LayerId&) override { return {}; }
  Result<Shown> show_layer(const LayerId& id) override {
    const auto path = root_ / id;
    if (::mkdir(path.c_str(), 0755) != 0) {
      return errno_error("cannot make {}", path.string());
    }
    return Shown{path, false};
  }
  Status hide_layer(const LayerId& id) override { return remove_tree(root_ / id); }
  Result<std::uint64_t> apply_layer_tar(const LayerId&, ByteSource& tar) override {
    std::vector<std::byte> buffer(65536);
    for (;;) {
      SBENCH_TRY_SET(const std::size_t count, tar.read(buffer));
      if (count == 0) {
        return std::uint64_t{0};
      }
    }
  }

  std::filesystem::path root_;
  bool mounted_;
};

}  // namespace

DriverSpec null_driver() {
  DriverSpec spec;
  spec.name = "null";
  spec.summary = "stores nothing: measures the harness itself";
  spec.capabilities.stores_layers = false;
  spec.probe = [](const Options&) { return Availability::yes(); };
  spec.format = [](Device&, const Options&) -> Status { return {}; };
  spec.open = [](Device&, const Options&, const std::filesystem::path& root) { return NullDriver::open(root); };
  return spec;
}

}  // namespace sbench
