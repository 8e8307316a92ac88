// numbered_driver.h: a driver whose pool keeps a numbered thing (thin device, dataset) for each layer.
//
// Adds to BackedDriver, whose tables lie on one more such thing: which layer has which
// number, in an order that a kill cannot break; what this object shows, each at mnt/ID;
// and that a pool from which something stays shown is kept.
#pragma once

#include <set>

#include "drivers/backing/backed_driver.h"
#include "drivers/backing/layer_numbers.h"

namespace sbench {

class NumberedDriver : public BackedDriver {
 protected:
  /// `mounts`: below it layers are shown, each on a directory of its id.
  NumberedDriver(Store store, LayerNumbers numbers, std::filesystem::path mounts)
      : BackedDriver(std::move(store)), numbers_(std::move(numbers)), mounts_(std::move(mounts)) {}

  /// Deletes what has this number; nothing there is fine.
  [[nodiscard]] virtual Status forget(std::uint32_t number) = 0;
  /// The pool stays when this object, and this process, go.
  virtual void keep_pool() = 0;

  [[nodiscard]] LayerNumbers& numbers() { return numbers_; }
  [[nodiscard]] std::filesystem::path mount_of(const LayerId& id) const { return mounts_ / id; }
  void is_shown(const LayerId& id) { shown_.insert(id); }
  void is_hidden(const LayerId& id) { shown_.erase(id); }

  /// Data that the kernel still keeps in memory for a layer, or every one that this object shows, goes to the pool.
  [[nodiscard]] Status sync_if_shown(const LayerId& id) const;
  [[nodiscard]] Status sync_shown() const;

  /// For destructors: keeps the pool when detached mounts stay behind, and lets go of what strangers hold.
  void leave_mounts();

  Status delete_layer(const LayerId& id) final;

 private:
  Status commit_layer(const LayerId& name, const LayerId& key) final;
  Status remember_shown(const LayerId& id, bool shown) final;

  LayerNumbers numbers_;
  std::filesystem::path mounts_;
  std::set<LayerId> shown_;  ///< mounted by this object
};

}  // namespace sbench
