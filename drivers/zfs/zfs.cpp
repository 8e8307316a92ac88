// zfs.cpp: the zfs driver: a dataset a layer, a clone of a snapshot for a child.
//
// Below the root directory: store/, where the store's own dataset is mounted (table/,
// shown/ (BackedDriver), datasets/ID: the layer's dataset, LayerNumbers), and mnt/ID,
// where a layer's dataset is mounted while shown; its tree is the dataset's root.
#include <unistd.h>

#include <array>

#include "drivers/backing/mount_point.h"
#include "drivers/backing/numbered_driver.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/driver.h"
#include "drivers/zfs/datasets.h"
#include "drivers/zfs/fuse_cost.h"

namespace sbench {

namespace zfs {

namespace {

constexpr DatasetId kFirstLayer = kStoreDataset + 1;
constexpr DatasetId kDatasets = 1u << 24;

const std::array<const Engine*, 3>& engines() {
  static const std::array<const Engine*, 3> all = {&kernel_engine(), &userspace_engine(), &fuse_engine()};
  return all;
}

/// The engine that was asked for; with auto the first that can run, or the first when none can. zfs-fuse is a peer: only
/// when it is named.
const Engine& pick_engine(const Options& options) {
  const auto& wanted = options.at("engine");
  for (const auto* engine : engines()) {
    if (wanted == engine->name || (wanted == "auto" && engine != &fuse_engine() && engine->probe(options).available)) {
      return *engine;
    }
  }
  return *engines().front();
}

Availability probe(const Options& options) { return pick_engine(options).probe(options); }

/// pick_engine(), refusing one that cannot run.
Result<const Engine*> require_engine(const Options& options) {
  const Engine& engine = pick_engine(options);
  const Availability availability = engine.probe(options);
  if (!availability.available) {
    return plain_error(ENOTSUP, "zfs cannot run here: {}; {}", availability.reason, availability.remedy);
  }
  return &engine;
}

Status format(Device& device, const Options& options) {
  SBENCH_TRY_SET(const Engine* engine, require_engine(options));
  return engine->format(device, options);
}

Result<std::vector<FuseCost>> fuse_cost(const Options& options, const std::filesystem::path& folder) {
  return &pick_engine(options) == &userspace_engine() ? measure_fuse_cost(folder) : std::vector<FuseCost>();
}

/// Keeps the pool alive longer than the file system that BackedDriver has from it.
struct PoolHolder {
  std::unique_ptr<Datasets> pool;
};

class ZfsDriver final : private PoolHolder, public NumberedDriver {
 public:
  static Result<std::unique_ptr<Driver>> open(Device& device, const Options& options, const std::filesystem::path& root) {
    SBENCH_TRY_SET(const Engine* engine, require_engine(options));
    const auto store = root / "store";
    SBENCH_TRY(make_directories(store));
    SBENCH_TRY(make_directories(root / "mnt"));
    const bool stands = is_mount_point(store);
    PoolHolder holder;
    SBENCH_TRY_SET(holder.pool, engine->open(device, options, store));
    if (!stands) {
      SBENCH_TRY(holder.pool->mount(kStoreDataset, store, false));
    }
    SBENCH_TRY_SET(auto tables, open_store(Backing::take(store, BackingType::zfs, stands),
                                           describe_maker("zfs", options, "size")));
    SBENCH_TRY_SET(auto numbers, LayerNumbers::open(store / "datasets", kFirstLayer, kDatasets));
    return std::unique_ptr<Driver>(
        new ZfsDriver(std::move(holder), std::move(tables), *engine, options, root / "mnt", std::move(numbers)));
  }

  ~ZfsDriver() override { leave_mounts(); }

  Result<Usage> usage(const LayerId& id) override {
    SBENCH_TRY(table().find(id));
    SBENCH_TRY(sync());
    SBENCH_TRY_SET(const std::uint64_t bytes, pool->own_bytes(numbers().at(id)));
    return Usage{bytes, 0};
  }

  Result<Usage> store_usage() override {
    SBENCH_TRY_SET(const auto space, pool->usage());
    return Usage{space.bytes_used, 0};
  }

  /// Pages written through mappings first, then the transaction group that takes them.
  Status sync() override {
    SBENCH_TRY(sync_shown());
    return pool->sync();
  }

  std::vector<std::pair<std::string, std::string>> status() override {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"Engine", engine_.name},
        {"Record Size", options_.at("recordsize")},
        {"Compression", options_.at("compression")},
        {"Layers", std::to_string(table().rows().size())},
    };
    if (const auto space = pool->usage(); space.ok()) {
      rows.emplace_back("Space Used", human_size(static_cast<double>(space->bytes_used)));
      rows.emplace_back("Space Total", human_size(static_cast<double>(space->bytes_total)));
    }
    for (auto& row : pool->status()) {
      rows.push_back(std::move(row));
    }
    return rows;
  }

  Capabilities capabilities() const override { return {}; }

 private:
  ZfsDriver(PoolHolder holder, Store store, const Engine& engine, Options options, std::filesystem::path mounts,
            LayerNumbers numbers)
      : PoolHolder(std::move(holder)),
        NumberedDriver(std::move(store), std::move(numbers), std::move(mounts)),
        engine_(engine),
        options_(std::move(options)) {}

  Status forget(DatasetId dataset) override {
    const Status destroyed = pool->destroy(dataset);
    return destroyed.ok() || destroyed.error().code == ENOENT ? Status() : destroyed;
  }
  void keep_pool() override { pool->keep(); }

  Status create_layer(const LayerId& key, const ParentId& parent) override {
    SBENCH_TRY(delete_layer(key));  // what a killed process may have left
    const DatasetId dataset = numbers().free_number();
    SBENCH_TRY(numbers().set(key, dataset));
    Status made = make_dataset(dataset, parent);
    if (!made.ok() && made.error().code == EEXIST) {  // no layer has it: a killed process made it
      SBENCH_TRY(forget(dataset));
      made = make_dataset(dataset, parent);
    }
    return made;
  }

  Status make_dataset(DatasetId dataset, const ParentId& parent) {
    return parent ? pool->clone(dataset, numbers().at(*parent)) : pool->create(dataset);
  }

  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY_SET(const auto row, table().find(id));
    const auto target = mount_of(id);
    if (is_mount_point(target)) {
      return Shown{target, true};
    }
    SBENCH_TRY(make_directories(target));
    SBENCH_TRY(pool->mount(numbers().at(id), target, row.kind == LayerTable::Kind::committed));
    is_shown(id);
    return Shown{target, false};
  }

  Status hide_layer(const LayerId& id) override {
    if (is_mount_point(mount_of(id))) {
      SBENCH_TRY(pool->unmount(numbers().at(id), mount_of(id)));
    }
    is_hidden(id);
    ::rmdir(mount_of(id).c_str());
    return {};
  }

  const Engine& engine_;
  Options options_;
};

}  // namespace

}  // namespace zfs

DriverSpec zfs_driver() {
  DriverSpec spec;
  spec.name = "zfs";
  spec.summary = "a dataset a layer, clones for children; the first write to a record copies it";
  spec.engines_differ =
      "Both write the changed record once. OpenZFS keeps two or three copies of all its metadata and writes its labels with every "
      "transaction group, some 400 KB in all, however little changed; cow_fs writes one copy of the blocks on the way to the "
      "change and one uberblock.";
  spec.options = {
      {"engine", "auto",
       "OpenZFS in the kernel, sbench's own copy-on-write file system, or zfs-fuse, a peer; auto: the first of two that can run",
       {"auto", "kernel", "userspace", "zfs-fuse"}},
      {"recordsize", "128K", "record: what is copied, checksummed and compressed at once",
       {"4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M"}},
      {"compression", "off", "transparent compression; off is OpenZFS 2.1's own default", {"off", "lz4", "zstd", "gzip"}},
      {"atime", "off", "whether reading a file writes its time of access", {"off", "on"}},
      {"sync", "standard", "when fsync returns: standard, with the intent log; always, every write waits; disabled, none does",
       {"standard", "always", "disabled"}},
      {"size", "", "a layer's quota, for example 10G; none by default", {}},
      {"ashift", "12", "smallest block as a power of two: 4096 bytes, or 512", {"9", "12"}},
  };
  spec.probe = zfs::probe;
  spec.format = zfs::format;
  spec.open = zfs::ZfsDriver::open;
  spec.fuse_cost = zfs::fuse_cost;
  return spec;
}

}  // namespace sbench
