#include "drivers/thin_pool/pool.h"

#include <algorithm>
#include <chrono>

#include "drivers/base/units.h"

namespace sbench::thin_pool {

Status Pool::format(BlockIo& io, const FormatOptions& options) {
  SBENCH_TRY_SET(const Geometry geometry, divide_device(io.size_bytes(), options.chunk_bytes, options.metadata_bytes));
  return Metadata::format(io, geometry, options.skip_zeroing);
}

Result<std::unique_ptr<Pool>> Pool::open(BlockIo& io, const OpenOptions& options) {
  SBENCH_TRY_SET(auto metadata, Metadata::open(io, options.cache_bytes));
  return std::unique_ptr<Pool>(new Pool(io, options, std::move(metadata)));
}

Pool::Pool(BlockIo& io, const OpenOptions& options, std::unique_ptr<Metadata> metadata)
    : io_(io),
      options_(options),
      metadata_(std::move(metadata)),
      chunk_bytes_(metadata_->superblock().chunk_bytes),
      data_offset_(metadata_->superblock().data_offset) {
  if (options_.commit_interval_ms > 0) {
    committer_ = std::thread([this] { commit_at_intervals(); });
  }
}

Pool::~Pool() {
  if (committer_.joinable()) {
    {
      const std::lock_guard lock(stop_mutex_);
      stopping_ = true;
    }
    stop_wanted_.notify_all();
    committer_.join();
  }
  if (flush().ok()) {
    static_cast<void>(metadata_->write_clean());
  }
}

void Pool::commit_at_intervals() {
  const auto interval = std::chrono::milliseconds(options_.commit_interval_ms);
  std::unique_lock lock(stop_mutex_);
  while (!stop_wanted_.wait_for(lock, interval, [this] { return stopping_; })) {
    lock.unlock();
    bool changed = false;
    {
      const std::lock_guard guard(mutex_);
      changed = metadata_->changed() && !metadata_->failure();
    }
    if (changed) {
      static_cast<void>(flush());  // a failure stays with the metadata and is told to the next who asks
    }
    lock.lock();
  }
}

Status Pool::flush() {
  const std::uint64_t ticket = ++flushes_asked_;
  const std::lock_guard turn(commit_turn_);
  if (flushes_done_ >= ticket) {  // somebody began one after this was asked for
    return {};
  }
  const std::uint64_t covered = flushes_asked_.load();
  SBENCH_TRY(commit_or_flush());
  flushes_done_ = covered;
  return {};
}

Status Pool::commit_or_flush() {
  Metadata::Sealed sealed;
  {
    const std::lock_guard lock(mutex_);
    if (metadata_->failure()) {
      return *metadata_->failure();
    }
    if (metadata_->changed()) {
      SBENCH_TRY_SET(sealed, metadata_->seal());
    }
  }
  if (sealed.blocks.empty()) {
    return io_.flush();
  }
  if (Status written = metadata_->write(sealed); !written.ok()) {
    const std::lock_guard lock(mutex_);
    metadata_->fail(written.error());
    return written;
  }
  const std::vector<std::uint64_t> freed = metadata_->freed_data();  // nobody else changes them before settle()
  if (!freed.empty()) {
    { const Gate::Closed drained(gate_); }  // requests that still read the freed chunks have ended
    SBENCH_TRY(discard_freed(freed));
  }
  const std::lock_guard lock(mutex_);
  metadata_->settle();
  if (!freed.empty()) {
    note_space_freed();
  }
  return {};
}

Status Pool::discard_freed(const std::vector<std::uint64_t>& blocks) {
  if (!options_.pass_discards_down) {
    return {};
  }
  std::vector<std::uint64_t> sorted = blocks;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t end = i + 1;
    while (end < sorted.size() && sorted[end] == sorted[end - 1] + 1) {
      ++end;
    }
    if (Status done = io_.discard(address(sorted[i], 0), (end - i) * chunk_bytes_); !done.ok()) {
      const std::lock_guard lock(mutex_);
      metadata_->fail(done.error());
      return done;
    }
    i = end;
  }
  return {};
}

template <typename Change>
Status Pool::changing(Change&& change) {
  Status done;
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      const std::lock_guard lock(mutex_);
      done = change();
    }
    if (done.ok() || done.error().code != ENOSPC) {
      break;
    }
    SBENCH_TRY(flush());
  }
  SBENCH_TRY(done);
  return flush();
}

Status Pool::create_device(DeviceId id, std::uint64_t size_bytes) {
  if (size_bytes % io_.block_bytes() != 0 || size_bytes > kDeviceBytesMax) {
    return plain_error(EINVAL, "a thin device cannot have {} bytes", size_bytes);
  }
  return changing([&] { return metadata_->create_device(id, size_bytes); });
}

Status Pool::create_snapshot(DeviceId id, DeviceId origin) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    Status done;
    {
      const Gate::Closed still(gate_);
      const std::lock_guard lock(mutex_);
      done = metadata_->create_snapshot(id, origin);
    }
    if (!done.ok() && (done.error().code != ENOSPC || attempt == 1)) {
      return done;
    }
    SBENCH_TRY(flush());
    if (done.ok()) {
      break;
    }
  }
  return {};
}

Status Pool::delete_device(DeviceId id) {
  return changing([&] { return metadata_->delete_device(id); });
}

Status Pool::grow_device(DeviceId id, std::uint64_t size_bytes) {
  return changing([&] { return metadata_->grow_device(id, size_bytes); });
}

Result<DeviceRecord> Pool::device(DeviceId id) {
  const std::lock_guard lock(mutex_);
  return metadata_->device(id);
}

Result<std::vector<DeviceId>> Pool::device_ids() {
  const std::lock_guard lock(mutex_);
  return metadata_->device_ids();
}

PoolStatistics Pool::statistics() {
  const std::lock_guard lock(mutex_);
  const Superblock& superblock = metadata_->superblock();
  PoolStatistics statistics;
  statistics.transaction = superblock.transaction;
  statistics.chunk_bytes = chunk_bytes_;
  statistics.data_chunks = metadata_->data_map().size();
  statistics.data_chunks_used = metadata_->data_map().allocated();
  statistics.metadata_blocks = metadata_->metadata_map().size();
  statistics.metadata_blocks_used = metadata_->metadata_map().allocated();
  statistics.waiting_writes = waiting_writes_;
  statistics.writes_waited = writes_waited_;
  statistics.low_water = statistics.data_chunks - statistics.data_chunks_used < options_.low_water_chunks;
  statistics.failure = metadata_->failure() ? metadata_->failure()->what : "";
  return statistics;
}

}  // namespace sbench::thin_pool
