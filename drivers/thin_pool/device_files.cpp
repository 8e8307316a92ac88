#include "drivers/thin_pool/device_files.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <charconv>

namespace sbench::thin_pool {

namespace {

constexpr NodeId kFirstDeviceNode = 2;

NodeId node_of(DeviceId id) { return kFirstDeviceNode + id; }

Error refused(const char* what) { return plain_error(EPERM, "a pool's directory holds thin devices only: no {}", what); }

}  // namespace

Result<DeviceId> DeviceFiles::device_of(NodeId node) {
  if (node < kFirstDeviceNode) {
    return plain_error(EISDIR, "the pool's directory is no thin device");
  }
  return static_cast<DeviceId>(node - kFirstDeviceNode);
}

/// A device's number as it is written: decimal, no leading zeros.
Result<DeviceId> DeviceFiles::parse_name(std::string_view name) {
  DeviceId id = 0;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (failure != std::errc() || end != name.data() + name.size() || std::to_string(id) != name || id >= kDeviceIds) {
    return plain_error(ENOENT, "'{}' is no thin device's number", name);
  }
  return id;
}

std::string describe(const PoolStatistics& statistics) {
  return fmt::format("data_used={} data_total={} metadata_used={} metadata_total={} transaction={} waiting={}",
                     statistics.data_chunks_used * statistics.chunk_bytes,
                     statistics.data_chunks * statistics.chunk_bytes, statistics.metadata_blocks_used * kBlockBytes,
                     statistics.metadata_blocks * kBlockBytes, statistics.transaction, statistics.waiting_writes);
}

struct stat DeviceFiles::attributes_of(DeviceId id, const DeviceRecord& record) const {
  struct stat status {};
  status.st_ino = node_of(id);
  status.st_mode = S_IFREG | 0600;
  status.st_nlink = 1;
  status.st_size = static_cast<off_t>(record.size_bytes);
  status.st_blksize = static_cast<blksize_t>(kBlockBytes);
  status.st_blocks = static_cast<blkcnt_t>(record.mapped_chunks * pool_->statistics().chunk_bytes / 512);
  return status;
}

Result<Entry> DeviceFiles::entry_of(DeviceId id) {
  SBENCH_TRY_SET(const DeviceRecord record, pool_->device(id));
  Entry entry;
  entry.node = node_of(id);
  entry.generation = record.transaction;
  entry.attributes = attributes_of(id, record);
  return entry;
}

Result<Entry> DeviceFiles::lookup(NodeId, std::string_view name) {
  SBENCH_TRY_SET(const DeviceId id, parse_name(name));
  return entry_of(id);
}

Result<struct stat> DeviceFiles::attributes(NodeId node, HandleId) {
  if (node == kRootNode) {
    struct stat status {};
    status.st_ino = kRootNode;
    status.st_mode = S_IFDIR | 0700;
    status.st_nlink = 2;
    return status;
  }
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  SBENCH_TRY_SET(const DeviceRecord record, pool_->device(id));
  return attributes_of(id, record);
}

Result<struct stat> DeviceFiles::set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) {
  if ((mask & static_cast<unsigned>(AttributeMask::size)) != 0) {
    SBENCH_TRY_SET(const DeviceId id, device_of(node));
    SBENCH_TRY(pool_->grow_device(id, static_cast<std::uint64_t>(wanted.st_size)));
  }
  return attributes(node, handle);  // owner, mode and times mean nothing here
}

Result<std::string> DeviceFiles::read_link(NodeId) { return plain_error(EINVAL, "a thin device is no link"); }

Result<Entry> DeviceFiles::make_node(const Caller&, NodeId, std::string_view name, mode_t mode, dev_t) {
  if (!S_ISREG(mode)) {
    return refused("special files");
  }
  SBENCH_TRY_SET(const DeviceId id, parse_name(name));
  SBENCH_TRY(pool_->create_device(id, 0));
  return entry_of(id);
}

Result<Entry> DeviceFiles::make_directory(const Caller&, NodeId, std::string_view, mode_t) { return refused("directories"); }

Result<Entry> DeviceFiles::make_symlink(const Caller&, NodeId, std::string_view, std::string_view) {
  return refused("symbolic links");
}

Result<Entry> DeviceFiles::make_link(NodeId node, NodeId, std::string_view name) {
  SBENCH_TRY_SET(const DeviceId origin, device_of(node));
  SBENCH_TRY_SET(const DeviceId id, parse_name(name));
  SBENCH_TRY(pool_->create_snapshot(id, origin));
  return entry_of(id);
}

Status DeviceFiles::unlink(NodeId, std::string_view name) {
  SBENCH_TRY_SET(const DeviceId id, parse_name(name));
  const std::lock_guard lock(mutex_);
  if (open_.contains(id)) {
    return plain_error(EBUSY, "thin device {} is in use", id);
  }
  return pool_->delete_device(id);
}

Status DeviceFiles::remove_directory(NodeId, std::string_view) { return refused("directories"); }

Status DeviceFiles::rename(NodeId, std::string_view, NodeId, std::string_view, unsigned) {
  return refused("renaming; the number is the device");
}

Result<FileSystem::Created> DeviceFiles::create(const Caller& caller, NodeId parent, std::string_view name, mode_t,
                                                int flags) {
  SBENCH_TRY_SET(const Entry entry, make_node(caller, parent, name, S_IFREG, 0));
  SBENCH_TRY_SET(const OpenFile file, open(entry.node, flags));
  return Created{entry, file};
}

Result<OpenFile> DeviceFiles::open(NodeId node, int) {
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(pool_->device(id));
  ++open_[id];
  OpenFile file;
  file.handle = node;
  file.direct = true;
  return file;
}

void DeviceFiles::release(NodeId node, HandleId) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(static_cast<DeviceId>(node - kFirstDeviceNode));
  SBENCH_CHECK(found != open_.end());
  if (--found->second == 0) {
    open_.erase(found);
  }
}

Result<std::size_t> DeviceFiles::read(NodeId node, HandleId, std::span<std::byte> into, std::uint64_t offset) {
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  SBENCH_TRY_SET(const DeviceRecord record, pool_->device(id));
  if (offset >= record.size_bytes) {
    return std::size_t{0};
  }
  into = into.first(std::min<std::uint64_t>(into.size(), record.size_bytes - offset));
  SBENCH_TRY(pool_->read(id, offset, into));
  return into.size();
}

Result<std::size_t> DeviceFiles::write(NodeId node, HandleId, std::span<const std::byte> from, std::uint64_t offset) {
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  SBENCH_TRY(pool_->write(id, offset, from));
  return from.size();
}

Status DeviceFiles::sync_file(NodeId, HandleId, bool) { return pool_->flush(); }

Status DeviceFiles::allocate(NodeId node, HandleId, int mode, std::uint64_t offset, std::uint64_t length) {
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  if ((mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_PUNCH_HOLE) {
    return plain_error(EOPNOTSUPP, "thin device {} allocates chunks when they are written", id);
  }
  return pool_->zero(id, offset, length);
}

Result<std::uint64_t> DeviceFiles::seek(NodeId node, HandleId, std::uint64_t offset, int whence) {
  SBENCH_TRY_SET(const DeviceId id, device_of(node));
  SBENCH_TRY_SET(const DeviceRecord record, pool_->device(id));
  SBENCH_TRY_SET(const std::uint64_t found, pool_->seek(id, offset, whence == SEEK_DATA));
  if (offset >= record.size_bytes || (whence == SEEK_DATA && found == record.size_bytes)) {
    return plain_error(ENXIO, "thin device {} has nothing behind {}", id, offset);
  }
  return found;
}

Result<std::size_t> DeviceFiles::copy_range(HandleId, std::uint64_t, HandleId, std::uint64_t, std::size_t) {
  return plain_error(EOPNOTSUPP, "thin devices share chunks through snapshots only");
}

Result<HandleId> DeviceFiles::open_directory(NodeId node) {
  return node == kRootNode ? Result<HandleId>(HandleId{0}) : plain_error(ENOTDIR, "a thin device is no directory");
}

Status DeviceFiles::read_directory(NodeId, HandleId, std::uint64_t cookie, const TakeEntry& take) {
  static constexpr std::uint64_t kDots = 2;  // cookies of "." and ".."; a device's is behind them
  for (const auto* dots : {".", ".."}) {
    const std::uint64_t own = dots[1] == '\0' ? 1 : kDots;
    if (cookie < own && !take({dots, kRootNode, DT_DIR, own})) {
      return {};
    }
  }
  SBENCH_TRY_SET(const auto ids, pool_->device_ids());
  for (const DeviceId id : ids) {
    const std::string name = std::to_string(id);
    const std::uint64_t own = kDots + 1 + id;
    if (cookie < own && !take({name, node_of(id), DT_REG, own})) {
      break;
    }
  }
  return {};
}

Status DeviceFiles::sync_directory(NodeId) { return pool_->flush(); }

Result<struct statvfs> DeviceFiles::statistics() {
  const PoolStatistics pool = pool_->statistics();
  struct statvfs status {};
  status.f_bsize = pool.chunk_bytes;  // loop devices discard in these
  status.f_frsize = pool.chunk_bytes;
  status.f_blocks = pool.data_chunks;
  status.f_bfree = status.f_bavail = pool.data_chunks - pool.data_chunks_used;
  status.f_namemax = 8;
  return status;
}

Result<std::string> DeviceFiles::xattr(NodeId node, const char* name) {
  const std::string_view wanted = name;
  if (node == kRootNode && wanted == "user.pool") {
    return describe(pool_->statistics());
  }
  if (node != kRootNode && wanted == "user.own_bytes") {
    SBENCH_TRY_SET(const DeviceId id, device_of(node));
    SBENCH_TRY_SET(const DeviceRecord record, pool_->device(id));
    return std::to_string(record.own_chunks * pool_->statistics().chunk_bytes);
  }
  return plain_error(ENODATA, "there is no attribute {}", name);
}

Result<std::string> DeviceFiles::xattr_names(NodeId node) {
  return std::string(node == kRootNode ? "user.pool" : "user.own_bytes") + '\0';
}

Status DeviceFiles::set_xattr(NodeId, const char*, std::string_view, int) { return refused("attributes of your own"); }

Status DeviceFiles::remove_xattr(NodeId, const char*) { return refused("removing of attributes"); }

Status DeviceFiles::sync() { return pool_->flush(); }

}  // namespace sbench::thin_pool
