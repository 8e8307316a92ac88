// pool.h: a pool of datasets on a block device: transaction groups, snapshots, clones.
//
// A ZFS-style copy-on-write file system: nothing that the last uberblock names is
// ever overwritten. Changes gather in the open transaction group; commit writes
// all blocks, a barrier, the uberblock, a barrier. fsync goes through the intent
// log and need not wait for that. A snapshot is a second name for a dataset's
// tree of blocks; who frees a block that a snapshot still has puts it on a dead
// list instead. It knows nothing of how datasets are shown to anybody.
//
// Threads: every call may come from any thread; one lock serialises them.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "drivers/base/units.h"
#include "drivers/cow_fs/intent_log.h"
#include "drivers/cow_fs/labels.h"
#include "drivers/cow_fs/tree.h"

namespace sbench::cow_fs {

enum class SyncMode {
  standard,  ///< what fsync acknowledged is durable
  always,    ///< every operation is durable when it returns
  disabled,  ///< fsync returns at once; commits go on at their intervals
};

struct OpenOptions {
  std::uint64_t cache_bytes = 128 * kMiB;
  std::uint64_t dirty_bytes_max = 48 * kMiB;  ///< a writer commits once more is dirty
  int commit_interval_ms = 5000;              ///< 0: only when asked, or when too much is dirty
  SyncMode sync = SyncMode::standard;
  bool read_only = false;                     ///< nothing is written: the intent log is replayed in memory
};

struct DatasetOptions {
  std::uint32_t record_bytes = 128 * kKiB;  ///< a power of two, 4 KiB to 1 MiB
  Compression compression = Compression::off;
  std::uint64_t quota_bytes = 0;
};

struct DatasetInfo {
  std::string name;
  std::uint64_t id = 0;
  DatasetRecord record;
  std::uint64_t clones = 0;  ///< of a snapshot
};

struct PoolStatistics {
  std::uint64_t group = 0;  ///< last committed
  std::uint64_t total_bytes = 0;
  std::uint64_t used_bytes = 0;   ///< what is to be freed soon included
  std::uint64_t free_bytes = 0;
  std::uint64_t commits = 0;
  std::uint64_t replayed = 0;     ///< operations of the intent log, when it was opened
  std::uint64_t bytes_written = 0;  ///< blocks of trees
  std::uint64_t log_bytes_written = 0;
  CacheFigures cache;
  std::string failure;  ///< why nothing can be written any more; empty when it can
};

class Pool;

/// A dataset or snapshot in memory. Private to the pool and the file systems over it, under the pool's lock.
class Dataset final : public Accounts {
 public:
  Dataset(Pool& pool, std::uint64_t id, const DatasetRecord& record);
  void born(const BlockPointer& pointer) override;
  Status freed(const BlockPointer& pointer) override;
  [[nodiscard]] std::string name() const { return std::string(record.name.data(), record.name_bytes); }
  [[nodiscard]] bool is_snapshot() const { return record.is_snapshot != 0; }

  Pool& pool;
  std::uint64_t id;
  DatasetRecord record;
  std::unique_ptr<ObjectSet> objects;  ///< loaded when somebody uses it
  std::unique_ptr<Tree> tree;
  std::vector<DeadBucket> dead;
  bool dead_loaded = false;
  bool dead_changed = false;
  bool record_changed = false;
  int users = 0;                       ///< file systems over it
  std::vector<std::uint64_t> lineage;  ///< last groups of the snapshots before it, ascending; see Pool::trace_lineage
  std::uint64_t lineage_of = 0;        ///< Pool::ancestries_ when it was traced
};

class Pool {
 public:
  [[nodiscard]] static Status format(BlockIo& io);
  /// `io` must outlive it. EUCLEAN when it is no pool, or damaged where it cannot do without.
  [[nodiscard]] static Result<std::unique_ptr<Pool>> open(BlockIo& io, const OpenOptions& options);
  /// Commits what is left; an error in that stays unheard: sync() first to hear it.
  ~Pool();

  /// These commit. EEXIST, ENOENT, EINVAL for a bad name or option, ENAMETOOLONG.
  [[nodiscard]] Status create(std::string_view name, const DatasetOptions& options);
  /// `snapshot` is a free name; it holds what `dataset` holds now.
  [[nodiscard]] Status snapshot(std::string_view dataset, std::string_view snapshot);
  [[nodiscard]] Status clone(std::string_view snapshot, std::string_view name);
  /// Of a dataset: EBUSY while it is used or has snapshots. Of a snapshot: EBUSY while it has clones;
  /// with `deferred` it then goes together with the last of them.
  [[nodiscard]] Status destroy(std::string_view name, bool deferred = false);
  [[nodiscard]] Status rename(std::string_view name, std::string_view new_name);
  [[nodiscard]] Status set_quota(std::string_view name, std::uint64_t bytes);

  [[nodiscard]] Result<DatasetInfo> info(std::string_view name);
  /// By id.
  [[nodiscard]] std::vector<DatasetInfo> list();
  /// Those whose names begin so, by name.
  [[nodiscard]] std::vector<DatasetInfo> list(std::string_view prefix);
  [[nodiscard]] PoolStatistics statistics();
  /// Everything acknowledged is durable.
  [[nodiscard]] Status sync();
  /// Cached blocks are forgotten: the next reads come from the device.
  void drop_cache();

  // What file systems over a dataset use.

  [[nodiscard]] std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(mutex_); }
  /// The dataset, loaded; its users count one more. Under the lock.
  [[nodiscard]] Result<Dataset*> use(std::string_view name);
  void unuse(Dataset& dataset);
  /// Does the operation in the dataset: refused when there is no space (ENOSPC, EDQUOT) or the pool cannot write
  /// (EIO); logged. The number of the object it made, else 0. EROFS in a snapshot.
  [[nodiscard]] Result<std::uint64_t> perform(Dataset& dataset, Operation& operation);
  /// What was performed is durable: through the intent log, or by a commit.
  [[nodiscard]] Status make_durable();
  /// Space a dataset may still write, and what it has.
  [[nodiscard]] std::uint64_t available_bytes(const Dataset& dataset) const;

  [[nodiscard]] Core& core() { return core_; }
  [[nodiscard]] const LabelHeader& header() const { return header_; }
  [[nodiscard]] const Uberblock& uberblock() const { return uberblock_; }
  [[nodiscard]] ObjectSet& meta() { return meta_; }

 private:
  friend class Dataset;
  /// The meta object set's blocks belong to nobody else.
  class MetaAccounts final : public Accounts {
   public:
    explicit MetaAccounts(Pool& pool) : pool_(pool) {}
    void born(const BlockPointer&) override {}
    Status freed(const BlockPointer& pointer) override {
      pool_.free_block(pointer);
      return {};
    }

   private:
    Pool& pool_;
  };

  Pool(BlockIo& io, const LabelHeader& header, const OpenOptions& options);
  [[nodiscard]] Status load();
  [[nodiscard]] Status replay();
  [[nodiscard]] Status commit();
  [[nodiscard]] Status write_group();
  void commit_at_intervals();
  [[nodiscard]] Status check_writable() const;
  [[nodiscard]] Status reserve(const Dataset& dataset, const Operation& operation);
  [[nodiscard]] bool is_dirty() const;

  [[nodiscard]] Result<Dataset*> find(std::string_view name);
  [[nodiscard]] DatasetInfo info_of(const Dataset& dataset) const;
  [[nodiscard]] Status check_new_name(std::string_view name) const;
  [[nodiscard]] Status load_objects(Dataset& dataset);
  [[nodiscard]] Status load_dead(Dataset& dataset);
  [[nodiscard]] Status add_dead(Dataset& dataset, const BlockPointer& pointer);
  [[nodiscard]] Result<Dataset*> add_dataset(const DatasetRecord& record, std::string_view name);
  [[nodiscard]] Status remove_dataset(Dataset& dataset);
  [[nodiscard]] Status destroy_snapshot(Dataset& snapshot);
  [[nodiscard]] Status destroy_dataset(Dataset& dataset);
  /// Datasets and snapshots whose `previous` is `snapshot`.
  [[nodiscard]] const std::vector<Dataset*>& followers(const Dataset& snapshot) const;
  void follow(Dataset& dataset, std::uint64_t previous);
  void unfollow(Dataset& dataset);
  void trace_lineage(Dataset& dataset) const;
  void free_block(const BlockPointer& pointer);
  /// Runs `change` between two commits.
  template <typename Change>
  [[nodiscard]] Status changing(Change&& change);

  BlockIo& io_;
  LabelHeader header_;
  OpenOptions options_;
  Core core_;
  MetaAccounts meta_accounts_;
  ObjectSet meta_;
  Uberblock uberblock_;  ///< the last one written
  IntentLog log_;
  std::map<std::uint64_t, std::unique_ptr<Dataset>> datasets_;  ///< by id; snapshots too
  std::map<std::string, std::uint64_t, std::less<>> names_;
  std::unordered_map<std::uint64_t, std::vector<Dataset*>> followers_;  ///< by the id of a snapshot
  std::uint64_t ancestries_ = 1;  ///< counts changes of who follows whom
  std::string failure_;
  std::uint64_t commits_ = 0;
  std::uint64_t replayed_ = 0;

  std::recursive_mutex mutex_;
  std::condition_variable_any wake_;
  bool closing_ = false;
  std::thread committer_;
};

/// Calls `visit` for the blocks of the tree below `objects` (an ObjectSetBlock) that were born after group `after`, parents
/// before children, each with the number of its object; reads from the device. Stops at the first error of `visit`; what
/// cannot be read is told to `damaged`.
using VisitBlock = std::function<Status(const BlockPointer& pointer, std::uint64_t object, std::uint64_t block)>;
[[nodiscard]] Status visit_blocks(BlockStore& blocks, const BlockPointer& objects, std::uint64_t after, bool with_data,
                                  const VisitBlock& visit, const std::function<Status(const Error&)>& damaged);

}  // namespace sbench::cow_fs
