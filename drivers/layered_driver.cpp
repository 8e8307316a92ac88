#include "drivers/layered_driver.h"

#include <sys/mount.h>

#include <algorithm>

#include "drivers/layer/apply.h"
#include "drivers/layer/naive_diff.h"

namespace sbench {

/// Lives inside a Mount's release function. Destroyed without having been
/// called, it means that the Mount was detached, or was an adopted one.
class LayeredDriver::Hold {
 public:
  Hold(LayeredDriver& driver, LayerId id) : driver_(driver), id_(std::move(id)) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (!released_) {
      driver_.leave_reference(id_);
    }
  }
  Status release() {
    released_ = true;
    return driver_.drop_reference(id_);
  }

 private:
  LayeredDriver& driver_;
  LayerId id_;
  bool released_ = false;
};

LayeredDriver::~LayeredDriver() {
  SBENCH_CHECK(std::all_of(mounted_.begin(), mounted_.end(), [](const auto& each) { return each.second.count == 0; }));
}

bool LayeredDriver::settle_mounts() {
  bool stays = false;
  for (auto& [id, reference] : mounted_) {
    SBENCH_CHECK(reference.count == 0);  // a Mount outlives its driver
    if (reference.detached) {
      stays = true;
    } else {
      ::umount2(reference.path.c_str(), MNT_DETACH);  // EINVAL where nothing was mounted: fine
    }
  }
  return stays;
}

void LayeredDriver::finish_interrupted_commit() {
  const auto commit = table_.interrupted_commit();
  if (!commit) {
    return;
  }
  if (commit_layer(commit->name, commit->key).ok() && table_.commit(commit->name, commit->key).ok()) {
    return;
  }
  table_.give_up_commit();  // where that failed, the layer is what it is found to be
}

Status LayeredDriver::prepare(const LayerId& key, const ParentId& parent) {
  finish_interrupted_commit();
  SBENCH_TRY(table_.check_new(key, parent));
  Status made = create_layer(key, parent);
  if (made.ok()) {
    made = table_.add(key, parent);
  }
  if (!made.ok()) {
    static_cast<void>(delete_layer(key));  // the first error is the one to report
  }
  return made;
}

Status LayeredDriver::remember_shown(const LayerId&, bool) { return {}; }

bool LayeredDriver::was_left_shown(const LayerId&) const { return false; }

Status LayeredDriver::check_idle(const LayerId& id, const char* what) const {
  if (is_mounted(id) || was_left_shown(id)) {
    return plain_error(EBUSY, "layer {} is mounted: it cannot be {}", id, what);
  }
  return {};
}

Status LayeredDriver::commit(const LayerId& name, const LayerId& key) {
  finish_interrupted_commit();
  SBENCH_TRY(table_.check_commit(name, key));
  SBENCH_TRY(check_idle(key, "committed"));
  SBENCH_TRY(table_.begin_commit(name, key));
  Status renamed = commit_layer(name, key);
  if (!renamed.ok()) {
    table_.give_up_commit();
    return renamed;
  }
  return table_.commit(name, key);
}

Status LayeredDriver::remove(const LayerId& id) {
  finish_interrupted_commit();
  SBENCH_TRY(table_.check_remove(id));
  SBENCH_TRY(check_idle(id, "removed"));
  SBENCH_TRY(delete_layer(id));
  return table_.remove(id);
}

Result<Mount> LayeredDriver::mount(const LayerId& id) {
  finish_interrupted_commit();
  SBENCH_TRY(table_.find(id));
  auto found = mounted_.find(id);
  if (found != mounted_.end() && found->second.count == 0 && !found->second.detached) {
    mounted_.erase(found);  // its release failed: what is there now is to be seen afresh
    found = mounted_.end();
  }
  if (found == mounted_.end()) {
    SBENCH_TRY_SET(auto shown, show_layer(id));
    found = mounted_.emplace(id, Reference{std::move(shown.path), 0, shown.adopted || was_left_shown(id), false}).first;
  }
  ++found->second.count;
  auto hold = std::make_shared<Hold>(*this, id);
  return Mount(
      found->second.path, [hold] { return hold->release(); }, found->second.adopted);
}

Status LayeredDriver::drop_reference(const LayerId& id) {
  const auto found = mounted_.find(id);
  SBENCH_CHECK(found != mounted_.end() && found->second.count > 0);
  if (--found->second.count > 0 || found->second.detached) {
    return {};
  }
  SBENCH_TRY(hide_layer(id));
  const bool adopted = found->second.adopted;
  mounted_.erase(found);
  return adopted ? remember_shown(id, false) : Status();
}

void LayeredDriver::leave_reference(const LayerId& id) {
  const auto found = mounted_.find(id);
  SBENCH_CHECK(found != mounted_.end() && found->second.count > 0);
  --found->second.count;
  if (!found->second.adopted) {
    found->second.detached = true;
    static_cast<void>(remember_shown(id, true));  // detach() reports nothing; a mount point still tells
  } else if (found->second.count == 0) {
    mounted_.erase(found);
  }
}

Result<std::uint64_t> LayeredDriver::apply(const LayerId& key, ByteSource& tar) {
  finish_interrupted_commit();
  SBENCH_TRY_SET(const auto row, table_.find(key));
  if (row.kind != LayerTable::Kind::active) {
    return plain_error(EINVAL, "layer {} is committed: nothing can be unpacked into it", key);
  }
  return apply_layer_tar(key, tar);
}

Result<std::uint64_t> LayeredDriver::apply_layer_tar(const LayerId& key, ByteSource& tar) {
  SBENCH_TRY_SET(auto tree, mount(key));
  SBENCH_TRY_SET(const std::uint64_t bytes, apply_layer(tar, tree.path(), WhiteoutStyle::erase));
  SBENCH_TRY(tree.release());
  return bytes;
}

Status LayeredDriver::diff(const LayerId& id, const ParentId& parent, ByteSink& tar) {
  SBENCH_TRY_SET(auto upper, mount(id));
  SBENCH_TRY_SET(const auto changed, LayeredDriver::changes(id, parent));
  SBENCH_TRY(write_changes(changed, upper.path(), tar));
  return upper.release();
}

Result<std::vector<Change>> LayeredDriver::changes(const LayerId& id, const ParentId& parent) {
  SBENCH_TRY_SET(auto upper, mount(id));
  if (!parent) {
    return naive_changes(std::nullopt, upper.path());
  }
  SBENCH_TRY_SET(auto lower, mount(*parent));
  SBENCH_TRY_SET(auto changed, naive_changes(lower.path(), upper.path()));
  SBENCH_TRY(lower.release());
  SBENCH_TRY(upper.release());
  return changed;
}

Result<std::vector<std::pair<LayerId, ParentId>>> LayeredDriver::list() {
  finish_interrupted_commit();
  std::vector<std::pair<LayerId, ParentId>> layers;
  for (const auto& [id, row] : table_.rows()) {
    layers.emplace_back(id, row.parent);
  }
  return layers;
}

}  // namespace sbench
