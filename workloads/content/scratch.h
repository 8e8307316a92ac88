// scratch.h: the layers one case makes for itself, removed when it is done.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "workloads/case.h"

namespace sbench {

/// Removes its layers, newest first, in remove_all() or, when a case fails half-way,
/// in the destructor. Declare it before the Mounts of its layers.
class Scratch {
 public:
  explicit Scratch(Case& c) : case_(c) {}
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// A new active layer on `parent` with an id of its own.
  [[nodiscard]] Result<LayerId> prepare(std::string_view prefix, const ParentId& parent);
  /// Takes note of an active layer that was prepared elsewhere.
  void adopt(const LayerId& id) { layers_.push_back(id); }
  /// Commits `key` under a new id, which takes its place here.
  [[nodiscard]] Result<LayerId> commit(std::string_view prefix, const LayerId& key);
  /// Commits `key` as `name`, which is no longer this object's to remove.
  [[nodiscard]] Status keep_as(const LayerId& name, const LayerId& key);
  /// A committed layer on `parent` whose changes `write` makes in its mounted tree.
  [[nodiscard]] Result<LayerId> written(std::string_view prefix, const ParentId& parent,
                                        const std::function<Status(const std::filesystem::path&)>& write);
  [[nodiscard]] Status remove(const LayerId& id);
  [[nodiscard]] Status remove_all();
  /// Leaves them in the store: they are no longer this object's.
  void leave_all() { layers_.clear(); }
  [[nodiscard]] const std::vector<LayerId>& layers() const { return layers_; }

 private:
  Case& case_;
  std::vector<LayerId> layers_;  ///< oldest first
};

}  // namespace sbench
