#include "workloads/content/scratch.h"

#include <algorithm>

namespace sbench {

Scratch::~Scratch() {
  while (!layers_.empty()) {  // only after a failure, which is what gets reported
    static_cast<void>(case_.driver().remove(layers_.back()));
    layers_.pop_back();
  }
}

Result<LayerId> Scratch::prepare(std::string_view prefix, const ParentId& parent) {
  LayerId key = case_.unique_id(prefix);
  SBENCH_TRY(case_.driver().prepare(key, parent));
  layers_.push_back(key);
  return key;
}

Result<LayerId> Scratch::commit(std::string_view prefix, const LayerId& key) {
  LayerId name = case_.unique_id(prefix);
  SBENCH_TRY(case_.driver().commit(name, key));
  std::replace(layers_.begin(), layers_.end(), key, name);
  return name;
}

Status Scratch::keep_as(const LayerId& name, const LayerId& key) {
  SBENCH_TRY(case_.driver().commit(name, key));
  std::erase(layers_, key);
  return {};
}

Result<LayerId> Scratch::written(std::string_view prefix, const ParentId& parent,
                                 const std::function<Status(const std::filesystem::path&)>& write) {
  SBENCH_TRY_SET(const LayerId key, prepare(prefix, parent));
  SBENCH_TRY_SET(Mount mount, case_.driver().mount(key));
  SBENCH_TRY(write(mount.path()));
  SBENCH_TRY(mount.release());
  return commit(prefix, key);
}

Status Scratch::remove(const LayerId& id) {
  SBENCH_TRY(case_.driver().remove(id));
  std::erase(layers_, id);
  return {};
}

Status Scratch::remove_all() {
  while (!layers_.empty()) {
    SBENCH_TRY(case_.driver().remove(layers_.back()));
    layers_.pop_back();
  }
  return {};
}

}  // namespace sbench
