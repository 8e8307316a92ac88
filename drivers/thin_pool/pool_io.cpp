// pool_io.cpp: the data path of a pool: reads, writes, copies of shared chunks, discards.
//
// A write to chunks that are mapped and unshared goes straight to them. Others
// get a block each: reserved under the lock, written without it, mapped under
// it. A commit in between sees the old mapping and a block that nobody counts
// yet, so a power loss leaves neither half-written chunks nor lost ones.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "drivers/base/units.h"
#include "drivers/thin_pool/pool.h"

namespace sbench::thin_pool {

namespace {

/// Chunks are copied and zeroed in steps of at most this.
constexpr std::uint64_t kStepBytes = kMiB;
/// Chunks cleared before others get the lock.
constexpr std::uint64_t kClearedAtOnce = 256;
/// Metadata blocks a running transaction may gather in memory.
constexpr std::size_t kNewBlocksMax = 4096;

/// This thread's memory for copying chunks, its content unspecified.
std::span<std::byte> copy_buffer(std::uint64_t bytes) {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  thread_local const std::unique_ptr<std::byte, Free> memory(
      static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kStepBytes)));
  need_memory(memory != nullptr);
  SBENCH_CHECK(bytes <= kStepBytes);
  return {memory.get(), bytes};
}

alignas(kBlockBytes) std::byte zeros[kStepBytes];  ///< never written

}  // namespace

std::uint64_t Pool::address(std::uint64_t block, std::uint64_t offset) const {
  return data_offset_ + block * chunk_bytes_ + offset;
}

/// With the lock held.
Status Pool::check_range(DeviceId id, std::uint64_t offset, std::uint64_t length) {
  SBENCH_TRY_SET(const DeviceRecord record, metadata_->device(id));
  if ((offset | length) % io_.block_bytes() != 0 || offset > record.size_bytes || length > record.size_bytes - offset) {
    return plain_error(EINVAL, "thin device {} has {} bytes in blocks of {}: {} bytes at {} are out of range", id,
                       record.size_bytes, io_.block_bytes(), length, offset);
  }
  return {};
}

std::vector<Pool::Piece> Pool::cut(std::uint64_t offset, std::uint64_t length) const {
  std::vector<Piece> pieces;
  for (std::uint64_t at = 0; at < length;) {
    Piece piece;
    piece.chunk = (offset + at) / chunk_bytes_;
    piece.offset = (offset + at) % chunk_bytes_;
    piece.at = at;
    piece.length = std::min(chunk_bytes_ - piece.offset, length - at);
    at += piece.length;
    pieces.push_back(piece);
  }
  return pieces;
}

/// With the lock held.
Status Pool::look_up(DeviceId id, std::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    SBENCH_TRY_SET(piece.found, metadata_->find(id, piece.chunk));
  }
  return {};
}

Status Pool::read(DeviceId id, std::uint64_t offset, std::span<std::byte> buffer) {
  const Gate::Pass pass(gate_);
  auto pieces = cut(offset, buffer.size());
  {
    const std::lock_guard lock(mutex_);
    SBENCH_TRY(check_range(id, offset, buffer.size()));
    SBENCH_TRY(look_up(id, pieces));
  }
  std::vector<BlockIo::Fill> fills;
  for (const Piece& piece : pieces) {
    const auto part = buffer.subspan(piece.at, piece.length);
    if (!piece.found.mapped) {
      std::fill(part.begin(), part.end(), std::byte{0});
      continue;
    }
    const std::uint64_t from = address(piece.found.block, piece.offset);
    if (!fills.empty() && fills.back().offset + fills.back().data.size() == from &&
        fills.back().data.data() + fills.back().data.size() == part.data()) {
      fills.back().data = {fills.back().data.data(), fills.back().data.size() + part.size()};
    } else {
      fills.push_back({from, part});
    }
  }
  return fills.size() == 1 ? io_.read(fills[0].offset, fills[0].data) : io_.read_all(fills);
}

Status Pool::write(DeviceId id, std::uint64_t offset, std::span<const std::byte> data) {
  bool committed = false;
  for (;;) {
    const std::uint64_t frees_seen = frees_.load();
    Status done = try_write(id, offset, data);
    if (done.ok() || done.error().code != ENOSPC) {
      return done;
    }
    if (!committed) {  // blocks that this transaction freed become available
      SBENCH_TRY(flush());
      committed = true;
    } else if (options_.when_full == WhenFull::error || !wait_for_space(frees_seen)) {
      return done;
    }
  }
}

/// Whether chunks came free since `frees_seen` was read, or do within the patience that is left.
bool Pool::wait_for_space(std::uint64_t frees_seen) {
  std::unique_lock lock(mutex_);
  if (!metadata_->check_room(1).ok()) {
    return false;
  }
  if (frees_ != frees_seen) {
    return true;
  }
  const auto now = std::chrono::steady_clock::now();
  const auto end = full_since_.value_or(now) + std::chrono::milliseconds(options_.queue_patience_ms);
  if (end <= now) {
    return false;
  }
  full_since_ = full_since_.value_or(now);
  ++writes_waited_;
  ++waiting_writes_;
  const bool freed = space_freed_.wait_until(lock, end, [&] { return frees_ != frees_seen; });
  --waiting_writes_;
  return freed;
}

/// With the lock held.
void Pool::note_space_freed() {
  ++frees_;
  full_since_.reset();
  space_freed_.notify_all();
}

Status Pool::try_write(DeviceId id, std::uint64_t offset, std::span<const std::byte> data) {
  bool crowded = false;
  {
    const Gate::Pass pass(gate_);
    auto pieces = cut(offset, data.size());
    bool all_in_place = true;
    {
      const std::lock_guard lock(mutex_);
      SBENCH_TRY(check_range(id, offset, data.size()));
      if (metadata_->failure()) {
        return *metadata_->failure();
      }
      SBENCH_TRY(look_up(id, pieces));
      all_in_place = std::all_of(pieces.begin(), pieces.end(), [](const Piece& piece) { return piece.in_place(); });
      crowded = metadata_->new_blocks() > kNewBlocksMax;
    }
    SBENCH_TRY(all_in_place ? write_pieces(pieces, data) : write_fresh(id, pieces, data));
  }
  return crowded ? flush() : Status();
}

Status Pool::write_fresh(DeviceId id, std::vector<Piece>& pieces, std::span<const std::byte> data) {
  std::vector<ChunkLocks::Chunk> wanted;
  for (const Piece& piece : pieces) {
    if (!piece.in_place()) {
      wanted.emplace_back(id, piece.chunk);
    }
  }
  const ChunkLocks::Hold hold(chunks_, std::move(wanted));
  {
    const std::lock_guard lock(mutex_);
    SBENCH_TRY(look_up(id, pieces));  // somebody else may have done it meanwhile
    SBENCH_TRY(reserve_for(pieces));
  }
  Status done = write_pieces(pieces, data);
  const std::lock_guard lock(mutex_);
  if (done.ok()) {
    done = map_fresh(id, pieces);
  }
  if (!done.ok()) {
    let_go(pieces);
  }
  return done;
}

/// A block for every piece that needs one, or none and ENOSPC. With the lock held.
Status Pool::reserve_for(std::vector<Piece>& pieces) {
  SBENCH_TRY(metadata_->check_room(pieces.size()));
  for (Piece& piece : pieces) {
    if (piece.in_place()) {
      continue;
    }
    auto block = metadata_->reserve_data();
    if (!block.ok()) {
      let_go(pieces);
      return block.error();
    }
    piece.fresh = *block;
  }
  return {};
}

/// With the lock held.
void Pool::let_go(const std::vector<Piece>& pieces) {
  for (const Piece& piece : pieces) {
    if (piece.fresh != kNoBlock) {
      metadata_->let_go_data(piece.fresh);
    }
  }
}

/// With the lock held. Pieces that were mapped keep nothing reserved.
Status Pool::map_fresh(DeviceId id, std::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    if (piece.fresh != kNoBlock) {
      SBENCH_TRY(metadata_->map(id, piece.chunk, piece.fresh));
      piece.fresh = kNoBlock;
    }
  }
  return {};
}

/// Whether the chunk's bytes around the piece must be written too.
bool Pool::needs_fill(const Piece& piece) const {
  if (piece.fresh == kNoBlock || piece.length == chunk_bytes_) {
    return false;
  }
  return piece.found.mapped || piece.found.zero || metadata_->superblock().skip_zeroing == 0;
}

Status Pool::write_pieces(const std::vector<Piece>& pieces, std::span<const std::byte> data) {
  std::vector<BlockIo::Transfer> transfers;
  for (const Piece& piece : pieces) {
    if (needs_fill(piece)) {
      SBENCH_TRY(fill_chunk(piece, data.subspan(piece.at, piece.length)));
      continue;
    }
    const auto part = data.subspan(piece.at, piece.length);
    const std::uint64_t to = address(piece.fresh != kNoBlock ? piece.fresh : piece.found.block, piece.offset);
    if (!transfers.empty() && transfers.back().offset + transfers.back().data.size() == to &&
        transfers.back().data.data() + transfers.back().data.size() == part.data()) {
      transfers.back().data = {transfers.back().data.data(), transfers.back().data.size() + part.size()};
    } else {
      transfers.push_back({to, part});
    }
  }
  return transfers.size() == 1 ? io_.write(transfers[0].offset, transfers[0].data) : io_.write_all(transfers);
}

/// Writes a whole fresh chunk: the data, and around it the old chunk's content or zeros.
Status Pool::fill_chunk(const Piece& piece, std::span<const std::byte> data) {
  const auto buffer = copy_buffer(std::min(chunk_bytes_, kStepBytes));
  for (std::uint64_t at = 0; at < chunk_bytes_; at += buffer.size()) {
    const auto step = buffer.first(std::min(buffer.size(), chunk_bytes_ - at));
    const std::uint64_t end = at + step.size();
    const std::uint64_t data_end = piece.offset + piece.length;
    const bool covered = piece.offset <= at && data_end >= end;
    if (piece.found.mapped && !covered) {
      SBENCH_TRY(io_.read(address(piece.found.block, at), step));
    } else if (!covered) {
      std::fill(step.begin(), step.end(), std::byte{0});
    }
    const std::uint64_t first = std::max(at, piece.offset);
    const std::uint64_t last = std::min(end, data_end);
    if (first < last) {
      std::memcpy(step.data() + (first - at), data.data() + (first - piece.offset), last - first);
    }
    SBENCH_TRY(io_.write(address(piece.fresh, at), step));
  }
  return {};
}

Status Pool::discard(DeviceId id, std::uint64_t offset, std::uint64_t length) { return clear(id, offset, length, false); }

Status Pool::zero(DeviceId id, std::uint64_t offset, std::uint64_t length) { return clear(id, offset, length, true); }

Status Pool::clear(DeviceId id, std::uint64_t offset, std::uint64_t length, bool promise_zeros) {
  {
    const std::lock_guard lock(mutex_);
    SBENCH_TRY(check_range(id, offset, length));
  }
  const std::uint64_t end = offset + length;
  const std::uint64_t first = (offset + chunk_bytes_ - 1) / chunk_bytes_;
  const std::uint64_t last = end / chunk_bytes_;
  if (promise_zeros) {
    const std::uint64_t head_end = std::min(end, first * chunk_bytes_);
    SBENCH_TRY(clear_edge(id, offset, head_end - offset));
    if (last >= first) {
      SBENCH_TRY(clear_edge(id, last * chunk_bytes_, end - last * chunk_bytes_));
    }
  }
  bool committed = false;
  for (std::uint64_t chunk = first; chunk < last;) {
    Status done;
    bool crowded = false;
    {
      const Gate::Pass pass(gate_);
      const std::lock_guard lock(mutex_);
      for (const std::uint64_t stop = std::min(last, chunk + kClearedAtOnce); done.ok() && chunk < stop;) {
        done = metadata_->unmap(id, chunk, promise_zeros);
        chunk += done.ok() ? 1 : 0;
      }
      committed = committed && !done.ok();
      crowded = metadata_->new_blocks() > kNewBlocksMax;
    }
    if (!done.ok() && (done.error().code != ENOSPC || committed)) {
      return done;
    }
    if (!done.ok() || crowded) {
      SBENCH_TRY(flush());
      committed = !done.ok();
    }
  }
  return {};
}

/// Zeros for a part of one chunk: written where it is mapped, promised for all of it where it is not.
Status Pool::clear_edge(DeviceId id, std::uint64_t offset, std::uint64_t length) {
  if (length == 0) {
    return {};
  }
  Metadata::Found found;
  {
    const std::lock_guard lock(mutex_);
    SBENCH_TRY_SET(found, metadata_->find(id, offset / chunk_bytes_));
    if (!found.mapped) {
      return metadata_->unmap(id, offset / chunk_bytes_, true);
    }
  }
  for (std::uint64_t at = 0; at < length; at += kStepBytes) {
    SBENCH_TRY(write(id, offset + at, {zeros, std::min(kStepBytes, length - at)}));
  }
  return {};
}

Result<std::uint64_t> Pool::seek(DeviceId id, std::uint64_t offset, bool data) {
  const std::lock_guard lock(mutex_);
  SBENCH_TRY_SET(const DeviceRecord record, metadata_->device(id));
  std::uint64_t chunk = offset / chunk_bytes_;
  std::uint64_t answer = data ? record.size_bytes : offset;
  SBENCH_TRY(metadata_->for_each_mapping(
      id, chunk, ~std::uint64_t{0}, [&](std::uint64_t at, const Mapping& mapping) -> Result<bool> {
        if (mapping.is_zero()) {
          return true;
        }
        if (data) {
          answer = std::max(offset, at * chunk_bytes_);
          return false;
        }
        if (at != chunk) {
          return false;
        }
        ++chunk;
        answer = chunk * chunk_bytes_;
        return true;
      }));
  return std::min(answer, record.size_bytes);
}

}  // namespace sbench::thin_pool
