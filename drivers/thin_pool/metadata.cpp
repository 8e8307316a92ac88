#include "drivers/thin_pool/metadata.h"

#include <limits>

namespace sbench::thin_pool {

namespace {

constexpr std::size_t kKnownRecordsMax = 4096;
/// Nodes one change of a tree can make: a copy and a split on each level, and a new top.
constexpr std::uint64_t kBlocksPerChange = 16;
/// Neighbouring chunks share their path; a leaf of them splits once in more than a hundred.
constexpr std::uint64_t kChunksPerBlock = 16;
/// A device's record that goes into the device tree: a leaf, copied or split.
constexpr std::uint64_t kBlocksPerRecord = 2;
/// What deleting takes, kept for it when the metadata is otherwise full.
constexpr std::uint64_t kBlocksForDeleting = 16;

const std::byte* bytes_of(const void* object) { return static_cast<const std::byte*>(object); }

}  // namespace

Metadata::Metadata(BlockIo& io, const Superblock& superblock, std::uint64_t cache_bytes)
    : io_(io),
      superblock_(superblock),
      cache_(std::make_unique<BlockCache>(io, superblock.metadata.size, superblock.transaction,
                                          cache_bytes / kBlockBytes)) {
  metadata_ = std::make_unique<SpaceMap>(*cache_, "metadata", superblock.metadata.size);
  data_ = std::make_unique<SpaceMap>(*cache_, "data", superblock.data.size);
  devices_ = std::make_unique<BTree>(*cache_, *metadata_, BlockKind::devices, sizeof(DeviceRecord));
  const auto block_of = [](const std::byte* value) {
    std::uint64_t packed = 0;
    std::memcpy(&packed, value, sizeof(packed));
    return Mapping::unpack(packed);
  };
  mappings_ = std::make_unique<BTree>(
      *cache_, *metadata_, BlockKind::mapping, sizeof(std::uint64_t),
      [this, block_of](const std::byte* value) -> Status {
        const Mapping mapping = block_of(value);
        return mapping.is_zero() ? Status() : data_->add(mapping.block);
      },
      [this, block_of](const std::byte* value) -> Status {
        const Mapping mapping = block_of(value);
        if (!mapping.is_zero()) {
          SBENCH_TRY_SET([[maybe_unused]] const auto left, data_->remove(mapping.block));
        }
        return {};
      });
}

Status Metadata::format(BlockIo& io, const Geometry& geometry, bool skip_zeroing) {
  Superblock superblock;
  superblock.device_bytes = io.size_bytes();
  superblock.chunk_bytes = geometry.chunk_bytes;
  superblock.data_offset = geometry.data_offset;
  superblock.skip_zeroing = skip_zeroing ? 1 : 0;
  superblock.metadata.size = geometry.metadata_blocks;
  superblock.data.size = geometry.data_chunks;
  const Block blank;
  for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {  // an older pool is gone before a new one begins
    SBENCH_TRY(io.write(slot * kBlockBytes, blank.bytes));
  }
  SBENCH_TRY(io.flush());
  Metadata metadata(io, superblock, 0);
  for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {
    SBENCH_TRY(metadata.metadata_->add(slot));
  }
  SBENCH_TRY_SET(metadata.superblock_.device_root, metadata.devices_->make_empty());
  SBENCH_TRY_SET(const Sealed sealed, metadata.seal());
  SBENCH_TRY(metadata.write(sealed));
  metadata.settle();
  return metadata.write_clean();
}

Result<std::unique_ptr<Metadata>> Metadata::open(BlockIo& io, std::uint64_t cache_bytes) {
  SBENCH_TRY_SET(auto found, read_superblock(io));
  std::unique_ptr<Metadata> metadata(new Metadata(io, found.superblock, cache_bytes));
  metadata->findings_ = std::move(found.findings);
  SBENCH_TRY(metadata->metadata_->load(found.superblock.metadata));
  SBENCH_TRY(metadata->data_->load(found.superblock.data));
  SBENCH_TRY(metadata->devices_->read_node(found.superblock.device_root, -1));
  return metadata;
}

/// Refuses what could not be committed; every changing call begins here.
Status Metadata::begin_change(std::uint64_t blocks_wanted) const {
  if (failure_) {
    return *failure_;
  }
  const std::uint64_t kept = metadata_->blocks_in_map() + data_->blocks_in_map() + blocks_wanted +
                             kBlocksPerChange + kBlocksPerRecord * changed_records_.size();
  if (metadata_->available() < kept) {
    return plain_error(ENOSPC, "the pool's metadata space is full: {} of {} blocks are in use", metadata_->allocated(),
                       metadata_->size());
  }
  return {};
}

/// Remembers an error that came in the middle of a change.
Status Metadata::settle_change(const Status& result) {
  if (result.ok()) {
    changed_ = true;
  } else {
    failure_ = result.error();
  }
  return result;
}

Status Metadata::check_room(std::uint64_t chunks) const {
  return begin_change(kBlocksForDeleting + kBlocksPerChange + chunks / kChunksPerBlock);
}

Result<DeviceRecord> Metadata::device(DeviceId id) {
  for (const auto* records : {&changed_records_, &known_records_}) {
    if (const auto found = records->find(id); found != records->end()) {
      return found->second;
    }
  }
  DeviceRecord record;
  SBENCH_TRY_SET(const bool exists,
                 devices_->find(superblock_.device_root, id, reinterpret_cast<std::byte*>(&record)));
  if (!exists) {
    return plain_error(ENOENT, "the pool has no thin device {}", id);
  }
  if (!makes_sense(record, superblock_.time)) {
    return plain_error(EUCLEAN, "thin device {} is damaged: its record makes no sense", id);
  }
  if (known_records_.size() >= kKnownRecordsMax) {
    known_records_.clear();
  }
  known_records_[id] = record;
  return record;
}

Result<DeviceRecord*> Metadata::changeable(DeviceId id) {
  SBENCH_TRY_SET(const DeviceRecord record, device(id));
  known_records_.erase(id);
  return &changed_records_.emplace(id, record).first->second;
}

Result<std::vector<DeviceId>> Metadata::device_ids() {
  std::vector<DeviceId> ids;
  SBENCH_TRY(devices_->for_each(superblock_.device_root, 0, std::numeric_limits<std::uint64_t>::max(),
                                [&ids](std::uint64_t key, const std::byte*) -> Result<bool> {
                                  if (key >= kDeviceIds) {
                                    return plain_error(EUCLEAN, "the device tree is damaged: it names a device {}", key);
                                  }
                                  ids.push_back(static_cast<DeviceId>(key));
                                  return true;
                                }));
  return ids;
}

Status Metadata::add_record(DeviceId id, const DeviceRecord& record) {
  SBENCH_TRY_SET(superblock_.device_root, devices_->insert(superblock_.device_root, id, bytes_of(&record)));
  known_records_.erase(id);
  changed_records_.erase(id);
  return {};
}

namespace {

Status check_new(Metadata& metadata, DeviceId id) {
  if (id >= kDeviceIds) {
    return plain_error(EINVAL, "thin device ids have 24 bits, {} is too large", id);
  }
  const auto found = metadata.device(id);
  if (found.ok()) {
    return plain_error(EEXIST, "the pool has a thin device {} already", id);
  }
  return found.error().code == ENOENT ? Status() : found.error();
}

}  // namespace

Status Metadata::create_device(DeviceId id, std::uint64_t size_bytes) {
  SBENCH_TRY(check_new(*this, id));
  SBENCH_TRY(check_room(2));
  return settle_change([&]() -> Status {
    DeviceRecord record;
    SBENCH_TRY_SET(record.root, mappings_->make_empty());
    record.size_bytes = size_bytes;
    record.transaction = superblock_.transaction + 1;
    record.created_time = superblock_.time;
    record.snapshotted_time = superblock_.time;
    return add_record(id, record);
  }());
}

Status Metadata::share_device(DeviceId id, DeviceId origin) {
  SBENCH_TRY_SET(DeviceRecord* const shared, changeable(origin));
  SBENCH_TRY(metadata_->add(shared->root));
  ++superblock_.time;
  shared->snapshotted_time = superblock_.time;
  DeviceRecord record = *shared;
  record.own_chunks = 0;
  record.transaction = superblock_.transaction + 1;
  record.created_time = superblock_.time;
  return add_record(id, record);
}

Status Metadata::create_snapshot(DeviceId id, DeviceId origin) {
  SBENCH_TRY(check_new(*this, id));
  SBENCH_TRY(device(origin));
  if (superblock_.time + 1 >= kTimes) {
    return plain_error(ENOSPC, "the pool has seen {} snapshots and can take no more: copy it to a new one", kTimes - 1);
  }
  SBENCH_TRY(check_room(2));
  return settle_change(share_device(id, origin));
}

Status Metadata::drop_device(DeviceId id) {
  SBENCH_TRY_SET(const DeviceRecord record, device(id));
  SBENCH_TRY(mappings_->drop(record.root));
  SBENCH_TRY_SET(superblock_.device_root, devices_->erase(superblock_.device_root, id));
  known_records_.erase(id);
  changed_records_.erase(id);
  return {};
}

Status Metadata::delete_device(DeviceId id) {
  SBENCH_TRY(device(id));
  SBENCH_TRY(begin_change(kBlocksForDeleting));
  return settle_change(drop_device(id));
}

Status Metadata::grow_device(DeviceId id, std::uint64_t size_bytes) {
  SBENCH_TRY_SET(const DeviceRecord now, device(id));
  if (size_bytes < now.size_bytes || size_bytes > kDeviceBytesMax) {
    return plain_error(EINVAL, "thin device {} has {} bytes and cannot get {}: devices only grow", id, now.size_bytes,
                       size_bytes);
  }
  SBENCH_TRY(check_room(1));
  return settle_change([&]() -> Status {
    SBENCH_TRY_SET(DeviceRecord* const record, changeable(id));
    record->size_bytes = size_bytes;
    return {};
  }());
}

Result<Metadata::Found> Metadata::find(DeviceId id, std::uint64_t chunk) {
  SBENCH_TRY_SET(const DeviceRecord record, device(id));
  std::uint64_t packed = 0;
  SBENCH_TRY_SET(const bool there, mappings_->find(record.root, chunk, reinterpret_cast<std::byte*>(&packed)));
  Found found;
  if (there) {
    const Mapping mapping = Mapping::unpack(packed);
    found.zero = mapping.is_zero();
    found.mapped = !found.zero;
    found.shared = found.mapped && mapping.time < record.snapshotted_time;
    found.block = mapping.block;
    if (found.mapped && found.block >= data_->size()) {
      return plain_error(EUCLEAN, "thin device {} is damaged: its chunk {} is at block {}, the pool has {}", id, chunk,
                         found.block, data_->size());
    }
  }
  return found;
}

Status Metadata::map_block(DeviceId id, std::uint64_t chunk, std::uint64_t block) {
  SBENCH_TRY_SET(DeviceRecord* const record, changeable(id));
  std::uint64_t packed = 0;
  SBENCH_TRY_SET(const bool replaced, mappings_->find(record->root, chunk, reinterpret_cast<std::byte*>(&packed)));
  const Mapping old = Mapping::unpack(packed);
  packed = Mapping{block, superblock_.time}.pack();
  SBENCH_TRY(data_->add(block));
  SBENCH_TRY_SET(record->root, mappings_->insert(record->root, chunk, bytes_of(&packed)));
  if (replaced && !old.is_zero()) {
    SBENCH_TRY_SET([[maybe_unused]] const auto left, data_->remove(old.block));
    record->own_chunks += old.time < record->created_time ? 1 : 0;
  } else {
    ++record->mapped_chunks;
    ++record->own_chunks;
  }
  return {};
}

Status Metadata::map(DeviceId id, std::uint64_t chunk, std::uint64_t block) {
  SBENCH_TRY(find(id, chunk));  // damage on the way is met before anything changes
  SBENCH_TRY(check_room(1));
  return settle_change(map_block(id, chunk, block));
}

Status Metadata::unmap_block(DeviceId id, std::uint64_t chunk, bool promise_zeros) {
  SBENCH_TRY_SET(DeviceRecord* const record, changeable(id));
  std::uint64_t packed = 0;
  SBENCH_TRY_SET(const bool there, mappings_->find(record->root, chunk, reinterpret_cast<std::byte*>(&packed)));
  const Mapping old = Mapping::unpack(packed);
  if (promise_zeros) {
    packed = Mapping{Mapping::kZeroBlock, superblock_.time}.pack();
    SBENCH_TRY_SET(record->root, mappings_->insert(record->root, chunk, bytes_of(&packed)));
  } else if (there) {
    SBENCH_TRY_SET(record->root, mappings_->erase(record->root, chunk));
  }
  if (there && !old.is_zero()) {
    SBENCH_TRY_SET([[maybe_unused]] const auto left, data_->remove(old.block));
    --record->mapped_chunks;
    record->own_chunks -= old.time < record->created_time ? 0 : 1;
  }
  return {};
}

Status Metadata::unmap(DeviceId id, std::uint64_t chunk, bool promise_zeros) {
  SBENCH_TRY_SET(const Found found, find(id, chunk));
  const bool promise = promise_zeros && superblock_.skip_zeroing != 0;
  if (!found.mapped && (found.zero || !promise)) {
    return {};
  }
  SBENCH_TRY(begin_change(kBlocksForDeleting + kBlocksPerChange));
  return settle_change(unmap_block(id, chunk, promise));
}

Status Metadata::for_each_mapping(DeviceId id, std::uint64_t first, std::uint64_t last, const Visit& visit) {
  SBENCH_TRY_SET(const DeviceRecord record, device(id));
  return mappings_->for_each(record.root, first, last, [&](std::uint64_t chunk, const std::byte* value) {
    std::uint64_t packed = 0;
    std::memcpy(&packed, value, sizeof(packed));
    return visit(chunk, Mapping::unpack(packed));
  });
}

Status Metadata::place_everything() {
  for (const auto& [id, record] : changed_records_) {
    SBENCH_TRY_SET(superblock_.device_root, devices_->insert(superblock_.device_root, id, bytes_of(&record)));
  }
  SBENCH_TRY(data_->relocate(*metadata_));
  return metadata_->relocate(*metadata_);
}

Result<Metadata::Sealed> Metadata::seal() {
  if (failure_) {
    return *failure_;
  }
  if (const Status placed = place_everything(); !placed.ok()) {
    failure_ = placed.error();
    return *failure_;
  }
  superblock_.data = data_->finish();
  superblock_.metadata = metadata_->finish();
  ++superblock_.transaction;
  Sealed sealed{superblock_, cache_->seal()};
  data_->seal();
  metadata_->seal();
  for (const auto& [id, record] : changed_records_) {
    known_records_[id] = record;
  }
  changed_records_.clear();
  changed_ = false;
  return sealed;
}

Status Metadata::write(const Sealed& sealed) const {
  SBENCH_TRY(cache_->write(sealed.blocks));
  SBENCH_TRY(io_.flush());
  SBENCH_TRY(write_superblock(io_, sealed.superblock));
  return io_.flush();
}

void Metadata::settle() {
  cache_->settle();
  metadata_->release_sealed();
  data_->release_sealed();
}

Status Metadata::restore_device(DeviceId id, const DeviceRecord& record) {
  SBENCH_TRY(create_device(id, record.size_bytes));
  return settle_change([&]() -> Status {
    SBENCH_TRY_SET(DeviceRecord* const made, changeable(id));
    made->created_time = record.created_time;
    made->snapshotted_time = record.snapshotted_time;
    made->transaction = record.transaction;
    return {};
  }());
}

Status Metadata::restore_mapping(DeviceId id, std::uint64_t chunk, Mapping mapping) {
  SBENCH_TRY(check_room(1));
  return settle_change([&]() -> Status {
    SBENCH_TRY_SET(DeviceRecord* const record, changeable(id));
    const std::uint64_t packed = mapping.pack();
    SBENCH_TRY_SET(record->root, mappings_->insert(record->root, chunk, bytes_of(&packed)));
    if (!mapping.is_zero()) {
      SBENCH_TRY(data_->add(mapping.block));
      ++record->mapped_chunks;
      record->own_chunks += mapping.time < record->created_time ? 0 : 1;
    }
    return {};
  }());
}

}  // namespace sbench::thin_pool
