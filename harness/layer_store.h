// layer_store.h: a store that persists between `sbench layer` calls.
//
// A folder holds it: `store` (the driver as typed), `device.img` (or the name of
// a real device), `root/` (where it is mounted while in use), `lock`, and, while
// `layer mount` keeps trees mounted, `kept`: the attached device and the keys.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "harness/session.h"
#include "harness/store.h"

namespace sbench {

class LayerStore {
 public:
  /// Where a store is: a folder of the user's, or a real device (kept below /run/sbench/stores).
  struct Place {
    std::filesystem::path directory;
    std::string device;  ///< empty: an image file in `directory`
  };

  /// Makes an empty store, replacing nothing: EEXIST when `directory` holds one.
  /// `claim`: the guard's, of place.device (device.h).
  [[nodiscard]] static Status format(const Place& place, const Variant& variant, std::uint64_t size_bytes,
                                     Fd claim = {});
  /// Opens it; `stay`: mounts go into this process' own namespace, to outlive it.
  /// `driver` (as typed) is needed where the folder does not know it; empty otherwise.
  [[nodiscard]] static Result<std::unique_ptr<LayerStore>> open(const Place& place, const std::string& driver, bool stay);
  ~LayerStore();

  [[nodiscard]] Driver& driver() { return store_->driver(); }
  [[nodiscard]] Store& store() { return *store_; }
  /// Mounts `id` and leaves it so; returns the path.
  [[nodiscard]] Result<std::filesystem::path> keep_mounted(const LayerId& id);
  /// Undoes keep_mounted; the last one takes the whole store down. ENOENT when it is not kept.
  [[nodiscard]] Status unmount(const LayerId& id);

 private:
  LayerStore() = default;
  [[nodiscard]] Status load_kept();
  [[nodiscard]] Status save_kept();

  Place place_;
  Fd lock_;
  Variant variant_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Store> store_;
  std::string kept_device_;
  std::set<LayerId> kept_;
};

/// Where `--store DIR` or `--device DEV` point. Throws UsageError unless exactly one is given.
[[nodiscard]] LayerStore::Place store_place(const std::string& store, const std::string& device);

}  // namespace sbench
