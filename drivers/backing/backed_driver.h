// backed_driver.h: a layered driver whose store is directories on a backing file system.
//
// Adds to LayeredDriver: the mounted Backing, kept while detached trees stand
// on it; sync(); the first rows of status(); the store's claim.
//
// Directory layout shared by all of them: `sbench-store` (who made it),
// `table/` (LayerTable), `shown/` (a file for each layer that a process left
// shown; void once the backing was unmounted), and the driver's own.
#pragma once

#include "drivers/backing/backing.h"
#include "drivers/layered_driver.h"

namespace sbench {

class BackedDriver : public LayeredDriver {
 public:
  ~BackedDriver() override;
  /// What the file system's own statistics (statvfs) call used; in a folder, what its files and directories use (as often as
  /// they have it, where the file system lets them share blocks).
  Result<Usage> store_usage() override;
  Status sync() override;
  std::vector<std::pair<std::string, std::string>> status() override;

 protected:
  /// What a constructor needs: the backing, mounted and claimed, and the table on it.
  struct Store {
    Backing backing;
    LayerTable table;
  };
  [[nodiscard]] static Result<Store> open_store(Backing backing, const std::string& maker);

  explicit BackedDriver(Store store) : LayeredDriver(std::move(store.table)), backing_(std::move(store.backing)) {}
  [[nodiscard]] const Backing& backing() const { return backing_; }
  [[nodiscard]] const std::filesystem::path& root() const { return backing_.root(); }
  Status remember_shown(const LayerId& id, bool shown) override;

 private:
  bool was_left_shown(const LayerId& id) const final;

  Backing backing_;
};

}  // namespace sbench
