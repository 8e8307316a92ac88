// datasets.cpp: datasets, snapshots and clones, and who owns which block.
#include <algorithm>

#include "drivers/cow_fs/pool.h"

namespace sbench::cow_fs {

Dataset::Dataset(Pool& in, std::uint64_t number, const DatasetRecord& with) : pool(in), id(number), record(with) {}

void Dataset::born(const BlockPointer& pointer) {
  record.own_bytes += pointer.physical_bytes;
  record.referenced_bytes += pointer.physical_bytes;
  record_changed = true;
}

Status Dataset::freed(const BlockPointer& pointer) {
  record_changed = true;
  record.referenced_bytes -= std::min<std::uint64_t>(record.referenced_bytes, pointer.physical_bytes);
  if (pointer.birth > record.previous_birth) {
    record.own_bytes -= std::min<std::uint64_t>(record.own_bytes, pointer.physical_bytes);
    pool.free_block(pointer);
    return {};
  }
  return pool.add_dead(*this, pointer);
}

void Pool::free_block(const BlockPointer& pointer) {
  core_.space.free(pointer.address, pointer.physical_bytes);
  core_.blocks.forget(pointer.address);
}

void Pool::follow(Dataset& dataset, std::uint64_t previous) {
  unfollow(dataset);
  dataset.record.previous = previous;
  if (previous != 0) {
    followers_[previous].push_back(&dataset);
  }
}

void Pool::unfollow(Dataset& dataset) {
  ++ancestries_;
  const auto found = followers_.find(dataset.record.previous);
  if (found == followers_.end()) {
    return;
  }
  std::erase(found->second, &dataset);
  if (found->second.empty()) {
    followers_.erase(found);
  }
}

const std::vector<Dataset*>& Pool::followers(const Dataset& snapshot) const {
  static const std::vector<Dataset*> none;
  const auto found = followers_.find(snapshot.id);
  return found == followers_.end() ? none : found->second;
}

void Pool::trace_lineage(Dataset& dataset) const {
  if (dataset.lineage_of == ancestries_) {
    return;
  }
  dataset.lineage.clear();
  for (std::uint64_t at = dataset.record.previous; at != 0 && dataset.lineage.size() <= datasets_.size();) {
    const auto found = datasets_.find(at);
    if (found == datasets_.end()) {
      break;
    }
    dataset.lineage.push_back(found->second->record.created);
    at = found->second->record.previous;
  }
  std::reverse(dataset.lineage.begin(), dataset.lineage.end());
  dataset.lineage_of = ancestries_;
}

Status Pool::load_objects(Dataset& dataset) {
  if (dataset.objects) {
    return {};
  }
  auto objects = std::make_unique<ObjectSet>(core_, dataset, dataset.name(), dataset.record.compression);
  SBENCH_TRY(objects->load(dataset.record.objects));
  dataset.objects = std::move(objects);
  dataset.tree = std::make_unique<Tree>(*dataset.objects, dataset.record.record_bytes);
  return {};
}

Status Pool::load_dead(Dataset& dataset) {
  if (dataset.dead_loaded) {
    return {};
  }
  SBENCH_TRY_SET(const ObjectRef list, meta_.open(dataset.record.dead_list));
  if (list->dnode().type != ObjectType::dead_list || list->dnode().size % sizeof(DeadBucket) != 0 ||
      list->dnode().size / sizeof(DeadBucket) > core_.blocks.blocks_max()) {
    return plain_error(EUCLEAN, "{}: object {} is no dead list", dataset.name(), list->id());
  }
  dataset.dead.resize(list->dnode().size / sizeof(DeadBucket));
  SBENCH_TRY(list->read(0, std::as_writable_bytes(std::span(dataset.dead))));
  dataset.dead_loaded = true;
  return {};
}

Status Pool::add_dead(Dataset& dataset, const BlockPointer& pointer) {
  SBENCH_TRY(load_dead(dataset));
  trace_lineage(dataset);
  const auto later = std::lower_bound(dataset.lineage.begin(), dataset.lineage.end(), pointer.birth);
  const std::uint64_t after = later == dataset.lineage.begin() ? 0 : *(later - 1);
  auto bucket = std::find_if(dataset.dead.rbegin(), dataset.dead.rend(), [&](const DeadBucket& b) { return b.after == after; });
  if (bucket == dataset.dead.rend()) {
    SBENCH_TRY_SET(const ObjectRef list, meta_.create(ObjectType::block_list));
    dataset.dead.push_back({after, list->id(), 0, 0});
    bucket = dataset.dead.rbegin();
  }
  SBENCH_TRY_SET(const ObjectRef list, meta_.open(bucket->list));
  SBENCH_TRY(list->write(bucket->blocks * sizeof(BlockPointer), std::as_bytes(std::span(&pointer, 1)), kIndirectBytes));
  ++bucket->blocks;
  bucket->bytes += pointer.physical_bytes;
  dataset.dead_changed = true;
  return {};
}

Result<Dataset*> Pool::find(std::string_view name) {
  const auto found = names_.find(name);
  if (found == names_.end()) {
    return plain_error(ENOENT, "the pool has no dataset {}", name);
  }
  return datasets_.at(found->second).get();
}

Status Pool::check_new_name(std::string_view name) const {
  if (name.size() > kNameMax) {
    return plain_error(ENAMETOOLONG, "a dataset's name has at most {} bytes", kNameMax);
  }
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    return plain_error(EINVAL, "not a dataset's name: '{}'", name);
  }
  if (names_.contains(name)) {
    return plain_error(EEXIST, "the pool has a dataset {} already", name);
  }
  return {};
}

template <typename Change>
Status Pool::changing(Change&& change) {
  SBENCH_TRY(check_writable());
  if (is_dirty()) {
    SBENCH_TRY(commit());
  }
  Status changed = change();
  if (!changed.ok()) {
    failure_ = changed.error().what;  // half a change must not be committed
    return changed;
  }
  return commit();
}

Result<Dataset*> Pool::add_dataset(const DatasetRecord& record, std::string_view name) {
  SBENCH_TRY_SET(const ObjectRef object, meta_.create(ObjectType::dataset));
  SBENCH_TRY_SET(const ObjectRef dead, meta_.create(ObjectType::dead_list));
  auto dataset = std::make_unique<Dataset>(*this, object->id(), record);
  dataset->record.dead_list = dead->id();
  dataset->record.name = {};
  std::copy(name.begin(), name.end(), dataset->record.name.begin());
  dataset->record.name_bytes = static_cast<std::uint8_t>(name.size());
  dataset->dead_loaded = true;
  dataset->record_changed = true;
  Dataset* const raw = dataset.get();
  names_[std::string(name)] = object->id();
  datasets_[object->id()] = std::move(dataset);
  follow(*raw, raw->record.previous);
  return raw;
}

Status Pool::create(std::string_view name, const DatasetOptions& options) {
  const auto held = lock();
  SBENCH_TRY(check_new_name(name));
  if (options.record_bytes < kRecordMin || options.record_bytes > kRecordMax || !std::has_single_bit(options.record_bytes)) {
    return plain_error(EINVAL, "records have 4K to 1M, a power of two, not {}", format_size(options.record_bytes));
  }
  return changing([&]() -> Status {
    DatasetRecord record;
    record.record_bytes = options.record_bytes;
    record.compression = options.compression;
    record.quota_bytes = options.quota_bytes;
    SBENCH_TRY_SET(Dataset* const dataset, add_dataset(record, name));
    dataset->objects = std::make_unique<ObjectSet>(core_, *dataset, dataset->name(), record.compression);
    dataset->objects->make(kFirstObject);
    dataset->tree = std::make_unique<Tree>(*dataset->objects, record.record_bytes);
    return dataset->tree->make_root(time_now());
  });
}

Status Pool::snapshot(std::string_view name, std::string_view snapshot_name) {
  const auto held = lock();
  SBENCH_TRY(check_new_name(snapshot_name));
  SBENCH_TRY_SET(Dataset* const dataset, find(name));
  if (dataset->is_snapshot()) {
    return plain_error(EINVAL, "{} is a snapshot itself", name);
  }
  return changing([&]() -> Status {
    SBENCH_TRY(load_dead(*dataset));
    DatasetRecord record = dataset->record;
    record.is_snapshot = 1;
    record.deferred = 0;
    record.quota_bytes = 0;
    record.created = uberblock_.group;
    SBENCH_TRY_SET(Dataset* const snapshot, add_dataset(record, snapshot_name));
    // The snapshot takes over what is dead since the one before; the dataset starts anew.
    std::swap(snapshot->record.dead_list, dataset->record.dead_list);
    std::swap(snapshot->dead, dataset->dead);
    follow(*dataset, snapshot->id);
    dataset->record.previous_birth = record.created;
    dataset->record.own_bytes = 0;
    dataset->record_changed = true;
    return {};
  });
}

Status Pool::clone(std::string_view snapshot_name, std::string_view name) {
  const auto held = lock();
  SBENCH_TRY(check_new_name(name));
  SBENCH_TRY_SET(const Dataset* const snapshot, find(snapshot_name));
  if (!snapshot->is_snapshot()) {
    return plain_error(EINVAL, "{} is no snapshot", snapshot_name);
  }
  return changing([&]() -> Status {
    DatasetRecord record = snapshot->record;
    record.is_snapshot = 0;
    record.deferred = 0;
    record.previous = record.origin = snapshot->id;
    record.previous_birth = snapshot->record.created;
    record.created = 0;
    record.own_bytes = 0;
    SBENCH_TRY(add_dataset(record, name));
    return {};
  });
}

Status Pool::remove_dataset(Dataset& dataset) {
  for (const std::uint64_t id : {dataset.id, dataset.record.dead_list}) {
    SBENCH_TRY_SET(const ObjectRef object, meta_.open(id));
    SBENCH_TRY(meta_.remove(object));
  }
  names_.erase(dataset.name());
  unfollow(dataset);
  datasets_.erase(dataset.id);
  return {};
}

Status Pool::destroy_snapshot(Dataset& snapshot) {
  const auto& following = followers(snapshot);
  if (following.size() != 1) {
    return plain_error(EUCLEAN, "snapshot {}: it is of {} datasets", snapshot.name(), following.size());
  }
  Dataset& next = *following.front();
  SBENCH_TRY(load_dead(next));
  SBENCH_TRY(load_dead(snapshot));
  const std::uint64_t before = snapshot.record.previous_birth;
  std::uint64_t freed_bytes = 0;
  std::vector<DeadBucket> kept;
  for (const DeadBucket& bucket : next.dead) {
    if (bucket.after < before) {
      kept.push_back(bucket);  // an earlier snapshot has these blocks as well
      continue;
    }
    SBENCH_TRY_SET(const ObjectRef list, meta_.open(bucket.list));
    if (bucket.blocks > core_.blocks.blocks_max()) {
      return plain_error(EUCLEAN, "{}: its dead list holds more blocks than the pool", next.name());
    }
    std::vector<BlockPointer> blocks(kFanOut);
    for (std::uint64_t done = 0; done < bucket.blocks; done += blocks.size()) {
      blocks.resize(std::min<std::uint64_t>(kFanOut, bucket.blocks - done));
      SBENCH_TRY(list->read(done * sizeof(BlockPointer), std::as_writable_bytes(std::span(blocks))));
      for (const BlockPointer& block : blocks) {
        if (!core_.blocks.is_plausible(block)) {
          return plain_error(EUCLEAN, "{}: its dead list names a block that makes no sense", next.name());
        }
        free_block(block);
        freed_bytes += block.physical_bytes;
      }
    }
    SBENCH_TRY(meta_.remove(list));
  }
  kept.insert(kept.end(), snapshot.dead.begin(), snapshot.dead.end());
  next.dead = std::move(kept);
  next.dead_changed = true;
  next.record.own_bytes += snapshot.record.own_bytes - std::min(snapshot.record.own_bytes, freed_bytes);
  follow(next, snapshot.record.previous);
  next.record.previous_birth = before;
  next.record.origin = next.record.origin == snapshot.id ? 0 : next.record.origin;
  next.record_changed = true;
  return remove_dataset(snapshot);
}

Status Pool::destroy_dataset(Dataset& dataset) {
  SBENCH_TRY(load_dead(dataset));
  SBENCH_TRY(visit_blocks(
      core_.blocks, dataset.record.objects, dataset.record.previous_birth, false,
      [this](const BlockPointer& pointer, std::uint64_t, std::uint64_t) -> Status {
        if (!core_.blocks.is_plausible(pointer)) {
          return plain_error(EUCLEAN, "{}: its pointer makes no sense", describe(pointer));
        }
        core_.space.free(pointer.address, pointer.physical_bytes);
        return {};
      },
      [](const Error& error) -> Status { return error; }));
  for (const DeadBucket& bucket : dataset.dead) {  // the blocks stay with the snapshots that have them
    SBENCH_TRY_SET(const ObjectRef list, meta_.open(bucket.list));
    SBENCH_TRY(meta_.remove(list));
  }
  const std::uint64_t origin = dataset.record.previous;
  SBENCH_TRY(remove_dataset(dataset));
  const auto found = datasets_.find(origin);
  if (found != datasets_.end() && found->second->record.deferred != 0 && followers(*found->second).size() == 1) {
    return destroy_snapshot(*found->second);
  }
  return {};
}

Status Pool::destroy(std::string_view name, bool deferred) {
  const auto held = lock();
  SBENCH_TRY_SET(Dataset* const dataset, find(name));
  if (dataset->users > 0) {
    return plain_error(EBUSY, "{} is in use", name);
  }
  if (dataset->is_snapshot()) {
    if (followers(*dataset).size() > 1) {
      if (!deferred) {
        return plain_error(EBUSY, "{} has clones", name);
      }
      return changing([&]() -> Status {
        dataset->record.deferred = 1;
        dataset->record_changed = true;
        return {};
      });
    }
    return changing([&] { return destroy_snapshot(*dataset); });
  }
  const auto previous = datasets_.find(dataset->record.previous);
  if (previous != datasets_.end() && previous->second->id != dataset->record.origin) {
    return plain_error(EBUSY, "{} has snapshots", name);
  }
  return changing([&] { return destroy_dataset(*dataset); });
}

Status Pool::rename(std::string_view name, std::string_view new_name) {
  const auto held = lock();
  SBENCH_TRY(check_new_name(new_name));
  SBENCH_TRY_SET(Dataset* const dataset, find(name));
  return changing([&]() -> Status {
    names_.erase(dataset->name());
    names_[std::string(new_name)] = dataset->id;
    dataset->record.name = {};
    std::copy(new_name.begin(), new_name.end(), dataset->record.name.begin());
    dataset->record.name_bytes = static_cast<std::uint8_t>(new_name.size());
    dataset->record_changed = true;
    return {};
  });
}

Status Pool::set_quota(std::string_view name, std::uint64_t bytes) {
  const auto held = lock();
  SBENCH_TRY_SET(Dataset* const dataset, find(name));
  return changing([&]() -> Status {
    dataset->record.quota_bytes = bytes;
    dataset->record_changed = true;
    return {};
  });
}

DatasetInfo Pool::info_of(const Dataset& dataset) const {
  return {dataset.name(), dataset.id, dataset.record, dataset.is_snapshot() ? followers(dataset).size() - 1 : 0};
}

Result<DatasetInfo> Pool::info(std::string_view name) {
  const auto held = lock();
  SBENCH_TRY_SET(const Dataset* const dataset, find(name));
  return info_of(*dataset);
}

std::vector<DatasetInfo> Pool::list() {
  const auto held = lock();
  std::vector<DatasetInfo> all;
  all.reserve(datasets_.size());
  for (const auto& [id, dataset] : datasets_) {
    all.push_back(info_of(*dataset));
  }
  return all;
}

std::vector<DatasetInfo> Pool::list(std::string_view prefix) {
  const auto held = lock();
  std::vector<DatasetInfo> found;
  for (auto at = names_.lower_bound(prefix); at != names_.end() && at->first.starts_with(prefix); ++at) {
    found.push_back(info_of(*datasets_.at(at->second)));
  }
  return found;
}

Result<Dataset*> Pool::use(std::string_view name) {
  const auto held = lock();
  SBENCH_TRY_SET(Dataset* const dataset, find(name));
  SBENCH_TRY(load_objects(*dataset));
  if (dataset->users == 0 && !dataset->is_snapshot() && check_writable().ok()) {
    SBENCH_TRY(dataset->tree->remove_orphans());
  }
  ++dataset->users;
  return dataset;
}

void Pool::unuse(Dataset& dataset) {
  const auto held = lock();
  SBENCH_CHECK(dataset.users > 0);
  --dataset.users;
}

}  // namespace sbench::cow_fs
