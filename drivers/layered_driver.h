// layered_driver.h: what all drivers do alike, so that a driver's folder holds only its mechanism.
//
// Checks ids and states against the LayerTable, counts references to mounts,
// and offers naive apply, diff and changes over mounted trees. A driver fills
// in the private virtuals. Not an interface for callers: they see Driver.
#pragma once

#include <filesystem>
#include <map>

#include "drivers/driver.h"
#include "drivers/layer/layer_table.h"

namespace sbench {

class LayeredDriver : public Driver {
 public:
  /// A bug while a Mount of this driver is alive (detached and adopted ones aside).
  ~LayeredDriver() override;
  Status prepare(const LayerId& key, const ParentId& parent) final;
  Status commit(const LayerId& name, const LayerId& key) final;
  Status remove(const LayerId& id) final;
  Result<Mount> mount(const LayerId& id) final;
  Result<std::uint64_t> apply(const LayerId& key, ByteSource& tar) final;
  Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) override;
  Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) override;
  Result<std::vector<std::pair<LayerId, ParentId>>> list() final;

 protected:
  explicit LayeredDriver(LayerTable table) : table_(std::move(table)) {}
  [[nodiscard]] const LayerTable& table() const { return table_; }
  /// Whether a tree of this layer is shown now, by this process or (detached) after it.
  [[nodiscard]] bool is_mounted(const LayerId& id) const { return mounted_.contains(id); }
  /// For destructors, before what the mounts stand on goes away: takes down mounts
  /// whose release failed, lazily. True when detached ones stay behind.
  [[nodiscard]] bool settle_mounts();

  /// Default: mount and unpack into the merged tree, erasing what whiteouts name.
  [[nodiscard]] virtual Result<std::uint64_t> apply_layer_tar(const LayerId& key, ByteSource& tar);

  /// A tree that is visible now. `adopted`: it was mounted before this process came.
  struct Shown {
    std::filesystem::path path;
    bool adopted = false;
  };

 private:
  /// Makes the content of a new active layer; `parent` exists and is committed.
  [[nodiscard]] virtual Status create_layer(const LayerId& key, const ParentId& parent) = 0;
  /// Freezes and renames; the layer is not mounted. `name` may equal `key`. It is called again when a power loss or
  /// kill came in the middle: some or all of the content may have the new name already.
  [[nodiscard]] virtual Status commit_layer(const LayerId& name, const LayerId& key) = 0;
  /// Deletes the content; not mounted, no children.
  [[nodiscard]] virtual Status delete_layer(const LayerId& id) = 0;
  /// Mounts, or just names the path where nothing needs mounting.
  [[nodiscard]] virtual Result<Shown> show_layer(const LayerId& id) = 0;
  /// Undoes show_layer.
  [[nodiscard]] virtual Status hide_layer(const LayerId& id) = 0;
  /// Writes down for later processes that a detached tree stays shown, or no longer is.
  [[nodiscard]] virtual Status remember_shown(const LayerId& id, bool shown);
  /// Whether a tree was left shown by a process before this one.
  [[nodiscard]] virtual bool was_left_shown(const LayerId& id) const;
  [[nodiscard]] Status check_idle(const LayerId& id, const char* what) const;
  /// Goes on with a commit that was interrupted, before anything else is done to the store.
  void finish_interrupted_commit();

  struct Reference {
    std::filesystem::path path;
    int count = 0;  ///< Mount objects alive
    bool adopted = false;
    bool detached = false;  ///< a Mount was detached: the tree outlives this object
  };
  class Hold;
  [[nodiscard]] Status drop_reference(const LayerId& id);
  void leave_reference(const LayerId& id);

  LayerTable table_;
  std::map<LayerId, Reference> mounted_;
};

}  // namespace sbench
