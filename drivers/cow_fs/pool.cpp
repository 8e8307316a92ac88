// pool.cpp: opening a pool, and its transaction groups.
#include "drivers/cow_fs/pool.h"

#include <algorithm>
#include <chrono>
#include <random>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kFirstMetaObject = 1;
constexpr unsigned kDelayedCommits = 4;  // after as many, what was freed before can be given out

}  // namespace

Pool::Pool(BlockIo& io, const LabelHeader& header, const OpenOptions& options)
    : io_(io),
      header_(header),
      options_(options),
      core_(io, header, options.cache_bytes),
      meta_accounts_(*this),
      meta_(core_, meta_accounts_, "meta object set", Compression::lz4),
      log_(io, header) {}

Status Pool::format(BlockIo& io) {
  SBENCH_TRY_SET(LabelHeader header, divide_device(io.size_bytes()));
  std::random_device random;
  header.guid = std::uint64_t{random()} << 32 | random();
  // The old pool's label goes first: a half-made pool is none.
  const Bytes nothing = zeroed(kLabelBytes);
  for (unsigned index = 0; index < 2; ++index) {
    SBENCH_TRY(io.write(label_offset(header.device_bytes, index), nothing));
  }
  SBENCH_TRY(io.flush());
  Pool pool(io, header, {});
  pool.meta_.make(kFirstMetaObject);
  pool.uberblock_.guid = header.guid;
  pool.uberblock_.magic = kUberMagic;
  const Bytes log = zeroed(kSector);
  SBENCH_TRY(io.write(header.log_offset, log));
  SBENCH_TRY(io.write(header.log_offset + header.log_bytes, log));
  SBENCH_TRY(write_labels(io, header));
  SBENCH_TRY(pool.write_group());
  pool.failure_ = "only made";  // nothing to commit when it goes
  return {};
}

Result<std::unique_ptr<Pool>> Pool::open(BlockIo& io, const OpenOptions& options) {
  SBENCH_TRY_SET(const LabelHeader header, read_label(io));
  std::unique_ptr<Pool> pool(new Pool(io, header, options));
  pool->failure_ = "not open";
  SBENCH_TRY(pool->load());
  pool->failure_.clear();
  if (!options.read_only) {
    SBENCH_TRY(complete_rings(io, header, pool->uberblock_));
  }
  if (const Status replayed = pool->replay(); !replayed.ok()) {
    pool->failure_ = replayed.error().what;
    return replayed.error();
  }
  pool->core_.write_behind = !options.read_only;
  if (options.commit_interval_ms > 0 && !options.read_only) {
    pool->committer_ = std::thread([raw = pool.get()] { raw->commit_at_intervals(); });
  }
  return pool;
}

Pool::~Pool() {
  {
    const auto held = lock();
    closing_ = true;
  }
  wake_.notify_all();
  if (committer_.joinable()) {
    committer_.join();
  }
  if (failure_.empty() && !options_.read_only && is_dirty()) {
    static_cast<void>(commit());
  }
}

Status Pool::load() {
  const auto uberblocks = read_uberblocks(io_, header_);
  if (uberblocks.empty()) {
    return plain_error(EUCLEAN, "the pool has no sound uberblock");
  }
  uberblock_ = uberblocks.front();
  core_.group = uberblock_.group + 1;
  SBENCH_TRY(core_.space.load(io_, uberblock_));
  SBENCH_TRY(meta_.load(uberblock_.meta));
  SBENCH_TRY(meta_.for_each([this](const ObjectRef& object) -> Status {
    if (object->dnode().type != ObjectType::dataset) {
      return {};
    }
    const auto record = cow_fs::load<DatasetRecord>(object->dnode().bonus.data());
    if (record.name_bytes == 0 || record.name_bytes > kNameMax || record.objects.is_hole() ||
        record.record_bytes < kRecordMin || record.record_bytes > kRecordMax || !std::has_single_bit(record.record_bytes) ||
        record.compression > Compression::lz4 || !check_new_name({record.name.data(), record.name_bytes}).ok()) {
      return plain_error(EUCLEAN, "dataset {}: its record makes no sense", object->id());
    }
    auto dataset = std::make_unique<Dataset>(*this, object->id(), record);
    names_[dataset->name()] = object->id();
    follow(*dataset, record.previous);
    datasets_[object->id()] = std::move(dataset);
    return {};
  }));
  for (const auto& [id, dataset] : datasets_) {
    const auto previous = datasets_.find(dataset->record.previous);
    if (dataset->record.previous != 0 && (previous == datasets_.end() || !previous->second->is_snapshot())) {
      return plain_error(EUCLEAN, "dataset {}: the snapshot before it, {}, is missing", dataset->name(), dataset->record.previous);
    }
    const std::uint64_t birth = previous == datasets_.end() ? 0 : previous->second->record.created;
    if (dataset->record.previous_birth != birth || (dataset->is_snapshot() && dataset->record.created <= birth)) {
      return plain_error(EUCLEAN, "dataset {}: it is not younger than the snapshot before it", dataset->name());
    }
    if (dataset->is_snapshot() && followers(*dataset).empty()) {
      return plain_error(EUCLEAN, "snapshot {}: it is of no dataset", dataset->name());
    }
  }
  log_.begin(core_.group);
  return {};
}

Status Pool::replay() {
  SBENCH_TRY_SET(const std::string operations, log_.read(core_.group));
  for (std::string_view rest = operations; !rest.empty();) {
    SBENCH_TRY_SET(Operation operation, unpack(rest));
    const auto found = datasets_.find(operation.dataset);
    if (found == datasets_.end() || found->second->is_snapshot()) {
      return plain_error(EUCLEAN, "the intent log names a dataset {}, which is none", operation.dataset);
    }
    Dataset& dataset = *found->second;
    SBENCH_TRY(load_objects(dataset));
    if (operation.next_object > ObjectSet::kObjectsMax) {
      return plain_error(EUCLEAN, "the intent log of {} names an object {}", dataset.name(), operation.next_object);
    }
    dataset.objects->skip_numbers(operation.next_object);
    const auto done = dataset.tree->apply(operation);
    if (!done.ok()) {
      return plain_error(done.error().code, "replaying the intent log of {}: {}", dataset.name(), done.error().what);
    }
    ++replayed_;
    if (core_.dirty_bytes > 2 * options_.dirty_bytes_max) {
      return plain_error(EUCLEAN, "the intent log holds more than a group can");
    }
  }
  return replayed_ > 0 && !options_.read_only ? commit() : Status();
}

Status Pool::check_writable() const {
  if (!failure_.empty()) {
    return plain_error(EIO, "the pool can no longer be written: {}", failure_);
  }
  return options_.read_only ? Status(make_error(EROFS, "the pool")) : Status();
}

bool Pool::is_dirty() const {
  if (meta_.is_dirty()) {
    return true;
  }
  return std::any_of(datasets_.begin(), datasets_.end(), [](const auto& entry) {
    const Dataset& dataset = *entry.second;
    return dataset.record_changed || dataset.dead_changed || (dataset.objects && dataset.objects->is_dirty());
  });
}

Status Pool::commit() {
  SBENCH_TRY(check_writable());
  Status written = write_group();
  if (!written.ok()) {
    // What is in memory is no longer what can be written; the device holds the last group, whole.
    failure_ = written.error().what;
  }
  return written;
}

Status Pool::write_group() {
  for (const auto& [id, dataset] : datasets_) {
    if (dataset->objects && dataset->objects->is_dirty()) {
      SBENCH_TRY_SET(dataset->record.objects, dataset->objects->sync());
      dataset->record_changed = true;
    }
  }
  for (const auto& [id, dataset] : datasets_) {
    if (dataset->dead_changed) {
      SBENCH_TRY_SET(const ObjectRef list, meta_.open(dataset->record.dead_list));
      SBENCH_TRY(list->truncate(0));
      SBENCH_TRY(list->write(0, std::as_bytes(std::span(dataset->dead)), kRecordMax));
      dataset->dead_changed = false;
    }
    if (dataset->record_changed) {
      SBENCH_TRY_SET(const ObjectRef object, meta_.open(id));
      store(object->change().bonus.data(), dataset->record);
      dataset->record_changed = false;
    }
  }
  Uberblock next = uberblock_;
  next.group = core_.group;
  SBENCH_TRY_SET(next.meta, meta_.sync());
  SBENCH_TRY(core_.blocks.write_collected());
  SBENCH_TRY(core_.space.store(io_, next));
  SBENCH_TRY(io_.flush());
  SBENCH_TRY(write_uberblock(io_, header_, next));
  SBENCH_TRY(io_.flush());
  uberblock_ = next;
  core_.space.committed();
  ++core_.group;
  ++commits_;
  log_.begin(core_.group);
  meta_.trim();
  for (const auto& [id, dataset] : datasets_) {
    if (dataset->objects) {
      dataset->objects->trim();
    }
  }
  return {};
}

void Pool::commit_at_intervals() {
  auto held = lock();
  while (!closing_) {
    wake_.wait_for(held, std::chrono::milliseconds(options_.commit_interval_ms));
    if (!closing_ && failure_.empty() && is_dirty()) {
      static_cast<void>(commit());  // who writes next hears of it
    }
  }
}

std::uint64_t Pool::available_bytes(const Dataset& dataset) const {
  // Kept free, so that what frees space can always be written.
  const std::uint64_t slop = std::min(std::max<std::uint64_t>(core_.space.total_bytes() / 32, kMiB), core_.space.total_bytes() / 8);
  const std::uint64_t free = core_.space.free_bytes() + core_.space.pending_bytes();
  const std::uint64_t in_pool = free > slop ? free - slop : 0;
  if (dataset.record.quota_bytes == 0) {
    return in_pool;
  }
  const std::uint64_t own = dataset.record.own_bytes;
  return std::min(in_pool, dataset.record.quota_bytes > own ? dataset.record.quota_bytes - own : 0);
}

Status Pool::reserve(const Dataset& dataset, const Operation& operation) {
  const bool frees = operation.kind == OperationKind::unlink || operation.kind == OperationKind::remove_directory ||
                     operation.kind == OperationKind::remove_xattr || operation.kind == OperationKind::allocate ||
                     (operation.kind == OperationKind::set_attributes && operation.data.empty());
  // Every record touched is written anew, and the pointers above; names and attributes need little.
  const std::uint64_t record = dataset.record.record_bytes;
  std::uint64_t wanted = std::uint64_t{2} * kIndirectBytes;
  if (operation.kind == OperationKind::write) {
    wanted += round_up(operation.data.size() + operation.offset % record, record);
  }
  for (unsigned attempt = 0;; ++attempt) {
    const std::uint64_t dirty = core_.dirty_bytes + core_.dirty_objects * kSector + 64 * kKiB;
    const std::uint64_t total = core_.space.total_bytes();
    const std::uint64_t slop = std::min(std::max<std::uint64_t>(total / 32, kMiB), total / 8) / (frees ? 4 : 1);
    const bool fits = core_.space.free_bytes() >= slop + dirty + wanted;
    const std::uint64_t quota = dataset.record.quota_bytes;
    const bool allowed = quota == 0 || frees || dataset.record.own_bytes + dirty + wanted <= quota;
    const bool too_dirty = core_.dirty_bytes + wanted > options_.dirty_bytes_max;
    if (fits && allowed && !too_dirty) {
      return {};
    }
    // Commits tell what is really needed, and give back what was freed.
    const bool helps = attempt == 0 || (!fits && core_.space.pending_bytes() > 0 && attempt < kDelayedCommits);
    if (!helps && fits && allowed) {
      return {};
    }
    if (!helps) {
      return allowed ? plain_error(ENOSPC, "the pool is full") : plain_error(EDQUOT, "{} has reached its quota", dataset.name());
    }
    SBENCH_TRY(commit());
  }
}

Result<std::uint64_t> Pool::perform(Dataset& dataset, Operation& operation) {
  const auto held = lock();
  SBENCH_TRY(check_writable());
  if (dataset.is_snapshot()) {
    return make_error(EROFS, "{} is a snapshot", dataset.name());
  }
  SBENCH_TRY(reserve(dataset, operation));
  operation.dataset = dataset.id;
  operation.next_object = dataset.objects->next_object();
  auto done = dataset.tree->apply(operation);
  if (done.ok() && options_.sync != SyncMode::disabled) {
    log_.append(operation);
  }
  if (done.ok() && options_.sync == SyncMode::always) {
    SBENCH_TRY(make_durable());
  }
  return done;
}

Status Pool::make_durable() {
  const auto held = lock();
  SBENCH_TRY(check_writable());
  if (options_.sync == SyncMode::disabled || !log_.is_pending()) {
    return {};
  }
  const auto logged = log_.write();
  if (!logged.ok()) {
    failure_ = logged.error().what;
    return logged.error();
  }
  if (!*logged) {
    return commit();
  }
  Status flushed = io_.flush();
  if (!flushed.ok()) {
    failure_ = flushed.error().what;
  }
  return flushed;
}

Status Pool::sync() {
  const auto held = lock();
  SBENCH_TRY(check_writable());
  return is_dirty() ? commit() : Status();
}

void Pool::drop_cache() {
  const auto held = lock();
  core_.blocks.drop_cache();
}

PoolStatistics Pool::statistics() {
  const auto held = lock();
  PoolStatistics now;
  now.group = uberblock_.group;
  now.total_bytes = core_.space.total_bytes();
  now.free_bytes = core_.space.free_bytes() + core_.space.pending_bytes();
  now.used_bytes = now.total_bytes - now.free_bytes;
  now.commits = commits_;
  now.replayed = replayed_;
  now.bytes_written = core_.bytes_written;
  now.log_bytes_written = log_.bytes_written();
  now.cache = core_.blocks.figures();
  now.failure = failure_;
  return now;
}

}  // namespace sbench::cow_fs
