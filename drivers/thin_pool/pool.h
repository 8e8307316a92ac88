// pool.h: a thin pool: many virtual block devices that share the chunks of one real one.
//
// dm-thin's design in user space: a device's chunk gets space at its first
// write, a snapshot shares all chunks and costs one reference, and the first
// write to a shared chunk copies it. What was acknowledged is durable after
// flush(), and otherwise within the commit interval. It knows nothing of how
// its devices are shown to anybody.
//
// Threads: every call may come from any thread, at the same time as any other.
// Writes that overlap other requests to the same bytes are the caller's bug.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/thin_pool/gate.h"
#include "drivers/thin_pool/metadata.h"

namespace sbench::thin_pool {

struct FormatOptions {
  std::uint64_t chunk_bytes = kChunkBytesMin;
  /// A new chunk's unwritten part keeps what the device held there, unless zeros were promised (zero()).
  bool skip_zeroing = false;
  std::uint64_t metadata_bytes = 0;  ///< 0: as divide_device() sees fit
};

/// What a write that needs a chunk does when there is none: as dm-thin's feature error_if_no_space decides.
enum class WhenFull { error, queue };

struct OpenOptions {
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;  ///< metadata kept in memory
  bool pass_discards_down = true;       ///< freed chunks are discarded on the device
  WhenFull when_full = WhenFull::error;
  /// How long writes wait for space, from the moment it ran out; then they fail, and later ones at
  /// once, until a chunk comes free. dm-thin's no_space_timeout, and its default.
  int queue_patience_ms = 60'000;
  std::uint64_t low_water_chunks = 0;   ///< PoolStatistics::low_water is set below this
  int commit_interval_ms = 1000;        ///< 0: only flush() commits
};

struct PoolStatistics {
  std::uint64_t transaction = 0;
  std::uint64_t chunk_bytes = 0;
  std::uint64_t data_chunks = 0;
  std::uint64_t data_chunks_used = 0;
  std::uint64_t metadata_blocks = 0;
  std::uint64_t metadata_blocks_used = 0;
  bool low_water = false;
  std::uint64_t waiting_writes = 0;  ///< for space (WhenFull::queue)
  std::uint64_t writes_waited = 0;   ///< how many ever began to
  std::string failure;  ///< why nothing can be written any more; empty when it can
};

class Pool {
 public:
  [[nodiscard]] static Status format(BlockIo& io, const FormatOptions& options);
  /// `io` must outlive it. EUCLEAN, ENOSPC as superblock.h says.
  [[nodiscard]] static Result<std::unique_ptr<Pool>> open(BlockIo& io, const OpenOptions& options);
  /// Commits what is left; an error in that stays unheard: flush() first to hear it.
  ~Pool();

  /// These commit. EEXIST, ENOENT; ENOSPC without metadata space.
  [[nodiscard]] Status create_device(DeviceId id, std::uint64_t size_bytes);
  /// The origin's content at this moment: requests to it are held off meanwhile.
  [[nodiscard]] Status create_snapshot(DeviceId id, DeviceId origin);
  [[nodiscard]] Status delete_device(DeviceId id);
  [[nodiscard]] Status grow_device(DeviceId id, std::uint64_t size_bytes);
  [[nodiscard]] Result<DeviceRecord> device(DeviceId id);
  [[nodiscard]] Result<std::vector<DeviceId>> device_ids();

  /// Offsets and lengths are multiples of io.block_bytes(), within the device; else EINVAL.
  [[nodiscard]] Status read(DeviceId id, std::uint64_t offset, std::span<std::byte> buffer);
  /// ENOSPC when data or metadata space is full: nothing was acknowledged then, and what was stays.
  /// With WhenFull::queue it waits for data space first, never for metadata space, as dm-thin does.
  [[nodiscard]] Status write(DeviceId id, std::uint64_t offset, std::span<const std::byte> data);
  /// Whole chunks in the range give their space back; their content becomes unspecified.
  [[nodiscard]] Status discard(DeviceId id, std::uint64_t offset, std::uint64_t length);
  /// The range reads as zeros afterwards; whole chunks in it give their space back.
  [[nodiscard]] Status zero(DeviceId id, std::uint64_t offset, std::uint64_t length);
  /// What was acknowledged before is durable. A commit only where metadata changed.
  [[nodiscard]] Status flush();
  /// The first chunk at or behind `offset` that holds data (or, `data` false, holds none), as a byte offset; size at the end.
  [[nodiscard]] Result<std::uint64_t> seek(DeviceId id, std::uint64_t offset, bool data);

  [[nodiscard]] PoolStatistics statistics();
  [[nodiscard]] const std::vector<std::string>& findings() const { return metadata_->findings(); }

 private:
  /// A part of a request within one chunk.
  struct Piece {
    std::uint64_t chunk = 0;
    std::uint64_t offset = 0;  ///< in the chunk
    std::uint64_t at = 0;      ///< in the request
    std::uint64_t length = 0;
    Metadata::Found found;
    std::uint64_t fresh = kNoBlock;  ///< reserved for it
    [[nodiscard]] bool in_place() const { return found.mapped && !found.shared; }
  };
  static constexpr std::uint64_t kNoBlock = ~std::uint64_t{0};

  Pool(BlockIo& io, const OpenOptions& options, std::unique_ptr<Metadata> metadata);
  [[nodiscard]] Status commit_or_flush();
  [[nodiscard]] Status discard_freed(const std::vector<std::uint64_t>& blocks);
  void commit_at_intervals();
  /// Runs `change` under the lock; after an ENOSPC commits, which frees blocks, and tries again.
  template <typename Change>
  [[nodiscard]] Status changing(Change&& change);

  [[nodiscard]] Status check_range(DeviceId id, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::vector<Piece> cut(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] Status look_up(DeviceId id, std::vector<Piece>& pieces);
  [[nodiscard]] Status try_write(DeviceId id, std::uint64_t offset, std::span<const std::byte> data);
  [[nodiscard]] Status write_fresh(DeviceId id, std::vector<Piece>& pieces, std::span<const std::byte> data);
  [[nodiscard]] Status reserve_for(std::vector<Piece>& pieces);
  void let_go(const std::vector<Piece>& pieces);
  [[nodiscard]] Status map_fresh(DeviceId id, std::vector<Piece>& pieces);
  [[nodiscard]] Status write_pieces(const std::vector<Piece>& pieces, std::span<const std::byte> data);
  [[nodiscard]] bool needs_fill(const Piece& piece) const;
  [[nodiscard]] Status fill_chunk(const Piece& piece, std::span<const std::byte> data);
  [[nodiscard]] std::uint64_t address(std::uint64_t block, std::uint64_t offset) const;
  [[nodiscard]] bool wait_for_space(std::uint64_t frees_seen);
  void note_space_freed();
  [[nodiscard]] Status clear(DeviceId id, std::uint64_t offset, std::uint64_t length, bool promise_zeros);
  [[nodiscard]] Status clear_edge(DeviceId id, std::uint64_t offset, std::uint64_t length);

  BlockIo& io_;
  const OpenOptions options_;
  std::unique_ptr<Metadata> metadata_;
  const std::uint64_t chunk_bytes_;
  const std::uint64_t data_offset_;

  Gate gate_;         ///< passed by every request to the data; closed for snapshots and before freed chunks are reused
  ChunkLocks chunks_;
  std::mutex mutex_;  ///< guards metadata_
  // Guarded by mutex_, but that frees_ is read without it:
  std::condition_variable space_freed_;
  std::atomic<std::uint64_t> frees_ = 0;  ///< commits that freed data chunks
  std::optional<std::chrono::steady_clock::time_point> full_since_;  ///< a write found no space, and none came free since
  std::uint64_t waiting_writes_ = 0;
  std::uint64_t writes_waited_ = 0;

  std::mutex commit_turn_;  ///< taken before mutex_: one commit at a time
  std::atomic<std::uint64_t> flushes_asked_ = 0;
  std::uint64_t flushes_done_ = 0;  ///< guarded by commit_turn_

  std::mutex stop_mutex_;
  std::condition_variable stop_wanted_;
  bool stopping_ = false;
  std::thread committer_;
};

}  // namespace sbench::thin_pool
