// served_driver.h: a driver that keeps each layer's changes in a directory and may show layers over FUSE.
//
// Adds to BackedDriver: the servers of the mounted layers, told to write back
// by sync() and left running with layers that stay shown.
#pragma once

#include "drivers/backing/backed_driver.h"
#include "drivers/fuse/layer_servers.h"
#include "drivers/layer/apply.h"

namespace sbench::fuse {

class ServedDriver : public BackedDriver {
 public:
  /// What the layer's own directory holds.
  Result<Usage> usage(const LayerId& id) override;
  Status sync() override;

 protected:
  explicit ServedDriver(Store store) : BackedDriver(std::move(store)), servers_(root() / "servers") {}
  /// Empty while a kernel engine mounts the layers.
  [[nodiscard]] LayerServers& servers() { return servers_; }
  /// Where the layer's own changes lie.
  [[nodiscard]] virtual std::filesystem::path changes_of(const LayerId& id) const = 0;
  /// Where its union is mounted while it is shown.
  [[nodiscard]] virtual std::filesystem::path shown_at(const LayerId& id) const = 0;
  /// EBUSY while it is.
  [[nodiscard]] Status check_not_shown(const LayerId& id) const;
  /// How the deletions of a layer with a parent stand in that directory.
  [[nodiscard]] virtual WhiteoutStyle whiteout_style() const = 0;
  Status remember_shown(const LayerId& id, bool shown) override;
  /// Straight into that directory, except while the union that has it as its upper is mounted.
  Result<std::uint64_t> apply_layer_tar(const LayerId& key, ByteSource& tar) override;

 private:
  LayerServers servers_;
};

}  // namespace sbench::fuse
