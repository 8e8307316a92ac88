#include "drivers/cow_fs/pool_files.h"

#include <dirent.h>
#include <sys/stat.h>

namespace sbench::cow_fs {

namespace {

constexpr unsigned kObjectBits = 32;  // of a node's number; 16 more say whose
constexpr unsigned kInodeBits = 40;   // the same for inode numbers, which are stable
constexpr std::uint64_t kNumberMax = 0xffff;
constexpr std::uint64_t kObjectMask = (std::uint64_t{1} << kObjectBits) - 1;

std::uint64_t object_of(NodeId node) { return node & kObjectMask; }

ino_t inode_of(std::uint64_t dataset, std::uint64_t object) { return dataset << kInodeBits | object; }

Error not_at_the_top(const char* what) { return plain_error(EPERM, "the top of a pool holds datasets: no {} there", what); }

}  // namespace

std::string describe(const PoolStatistics& statistics) {
  return fmt::format("used={} total={} group={}", statistics.used_bytes, statistics.total_bytes, statistics.group);
}

PoolFiles::~PoolFiles() { shown_.clear(); }

Result<PoolFiles::Number> PoolFiles::show(std::string_view name) {
  if (const auto found = numbers_.find(name); found != numbers_.end()) {
    return found->second;
  }
  SBENCH_TRY_SET(const DatasetInfo info, pool_->info(name));
  if (info.record.is_snapshot != 0) {
    return make_error(ENOENT, "{}", name);
  }
  SBENCH_TRY_SET(auto files, DatasetFiles::open(*pool_, name));
  if (next_ > kNumberMax) {
    return make_error(ENFILE, "{}: too many datasets were looked into since the pool was opened", name);
  }
  const Number number = next_++;
  shown_[number] = {std::string(name), info.id, std::move(files)};
  numbers_[std::string(name)] = number;
  return number;
}

Result<PoolFiles::Shown*> PoolFiles::shown_of(NodeId node) {
  const auto found = shown_.find(static_cast<Number>(node >> kObjectBits));
  if (found == shown_.end()) {
    return make_error(ESTALE, "node {}", node);
  }
  return &found->second;
}

Entry PoolFiles::outside(Number number, const Shown& shown, Entry entry) const {
  entry.node |= NodeId{number} << kObjectBits;
  entry.attributes.st_ino = inode_of(shown.dataset, entry.attributes.st_ino);
  return entry;
}

struct stat PoolFiles::root_attributes() const {
  struct stat status {};
  status.st_ino = kRootNode;
  status.st_mode = S_IFDIR | 0700;
  status.st_nlink = 2;
  status.st_blksize = kSector;
  return status;
}

Result<Entry> PoolFiles::root_entry(std::string_view name) {
  SBENCH_TRY_SET(const Number number, show(name));
  const Shown& shown = shown_.at(number);
  Entry entry;
  entry.node = kRootObject;
  SBENCH_TRY_SET(entry.attributes, shown.files->attributes(kRootObject, 0));
  return outside(number, shown, entry);
}

template <typename Make>
Result<Entry> PoolFiles::make(NodeId parent, Make&& make) {
  const auto held = pool_->lock();
  if (parent == kRootNode) {
    return not_at_the_top("file");
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(parent));
  SBENCH_TRY_SET(const Entry entry, make(*shown->files));
  return outside(static_cast<Number>(parent >> kObjectBits), *shown, entry);
}

Result<Entry> PoolFiles::lookup(NodeId parent, std::string_view name) {
  const auto held = pool_->lock();
  return parent == kRootNode ? root_entry(name)
                             : make(parent, [&](DatasetFiles& files) { return files.lookup(object_of(parent), name); });
}

void PoolFiles::forget(NodeId node, std::uint64_t references) {
  const auto held = pool_->lock();
  if (node == kRootNode || object_of(node) == kRootObject) {
    return;  // these stay anyway
  }
  if (const auto shown = shown_of(node); shown.ok()) {
    (*shown)->files->forget(object_of(node), references);
  }
}

Result<struct stat> PoolFiles::attributes(NodeId node, HandleId handle) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return root_attributes();
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  SBENCH_TRY_SET(struct stat status, shown->files->attributes(object_of(node), handle));
  status.st_ino = inode_of(shown->dataset, status.st_ino);
  return status;
}

Result<struct stat> PoolFiles::set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return not_at_the_top("change");
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  SBENCH_TRY(shown->files->set_attributes(object_of(node), handle, mask, wanted));
  return attributes(node, handle);
}

Result<std::string> PoolFiles::read_link(NodeId node) {
  const auto held = pool_->lock();
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->read_link(object_of(node));
}

Result<Entry> PoolFiles::make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device) {
  return make(parent, [&](DatasetFiles& files) { return files.make_node(caller, object_of(parent), name, mode, device); });
}

Result<Entry> PoolFiles::make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) {
  if (parent != kRootNode) {
    return make(parent, [&](DatasetFiles& files) { return files.make_directory(caller, object_of(parent), name, mode); });
  }
  const auto held = pool_->lock();
  if (const auto origin = origins_.extract(std::string(name))) {
    SBENCH_TRY(clone(origin.mapped(), name));
  } else {
    SBENCH_TRY(pool_->create(name, new_datasets_));
  }
  return root_entry(name);
}

Result<Entry> PoolFiles::make_symlink(const Caller& caller, NodeId parent, std::string_view name, std::string_view target) {
  return make(parent, [&](DatasetFiles& files) { return files.make_symlink(caller, object_of(parent), name, target); });
}

Result<Entry> PoolFiles::make_link(NodeId node, NodeId parent, std::string_view name) {
  if (node >> kObjectBits != parent >> kObjectBits) {
    return make_error(EXDEV, "'{}'", name);
  }
  return make(parent, [&](DatasetFiles& files) { return files.make_link(object_of(node), object_of(parent), name); });
}

Status PoolFiles::unlink(NodeId parent, std::string_view name) {
  const auto held = pool_->lock();
  if (parent == kRootNode) {
    return make_error(EISDIR, "'{}'", name);
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(parent));
  return shown->files->unlink(object_of(parent), name);
}

Status PoolFiles::destroy(std::string_view name) {
  SBENCH_TRY_SET(const DatasetInfo info, pool_->info(name));
  if (info.record.is_snapshot != 0) {
    return make_error(ENOENT, "{}", name);
  }
  if (const auto found = numbers_.find(name); found != numbers_.end()) {
    if (shown_.at(found->second).files->open_handles() > 0) {
      return make_error(EBUSY, "{}", name);
    }
    shown_.erase(found->second);
    numbers_.erase(found);
  }
  // Snapshots that no clone needs any more go first: a clone that was not made whole may have left one.
  for (const DatasetInfo& other : pool_->list(fmt::format("{}@", name))) {
    if (other.record.is_snapshot != 0 && other.clones == 0) {
      SBENCH_TRY(pool_->destroy(other.name));
    }
  }
  return pool_->destroy(name);
}

Status PoolFiles::remove_directory(NodeId parent, std::string_view name) {
  const auto held = pool_->lock();
  if (parent == kRootNode) {
    return destroy(name);
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(parent));
  return shown->files->remove_directory(object_of(parent), name);
}

Status PoolFiles::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name, unsigned flags) {
  const auto held = pool_->lock();
  if (parent >> kObjectBits != new_parent >> kObjectBits) {
    return make_error(EXDEV, "'{}'", name);
  }
  if (parent == kRootNode) {
    return not_at_the_top("rename");
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(parent));
  return shown->files->rename(object_of(parent), name, object_of(new_parent), new_name, flags);
}

Result<FileSystem::Created> PoolFiles::create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, int flags) {
  const auto held = pool_->lock();
  if (parent == kRootNode) {
    return not_at_the_top("file");
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(parent));
  SBENCH_TRY_SET(Created created, shown->files->create(caller, object_of(parent), name, mode, flags));
  created.entry = outside(static_cast<Number>(parent >> kObjectBits), *shown, created.entry);
  return created;
}

Result<OpenFile> PoolFiles::open(NodeId node, int flags) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return make_error(EISDIR, "the top");
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->open(object_of(node), flags);
}

Result<std::size_t> PoolFiles::read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) {
  const auto held = pool_->lock();
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->read(object_of(node), handle, into, offset);
}

Result<std::size_t> PoolFiles::write(NodeId node, HandleId handle, std::span<const std::byte> from, std::uint64_t offset) {
  const auto held = pool_->lock();
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->write(object_of(node), handle, from, offset);
}

void PoolFiles::release(NodeId node, HandleId handle) {
  const auto held = pool_->lock();
  if (handle != 0) {
    DatasetFiles::files_of(handle).release(object_of(node), handle);
  }
}

Status PoolFiles::sync_file(NodeId, HandleId, bool) { return pool_->make_durable(); }

Status PoolFiles::allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset, std::uint64_t length) {
  const auto held = pool_->lock();
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->allocate(object_of(node), handle, mode, offset, length);
}

Result<std::uint64_t> PoolFiles::seek(NodeId node, HandleId handle, std::uint64_t offset, int whence) {
  const auto held = pool_->lock();
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->seek(object_of(node), handle, offset, whence);
}

Result<std::size_t> PoolFiles::copy_range(HandleId from, std::uint64_t from_offset, HandleId to, std::uint64_t to_offset,
                                          std::size_t length) {
  const auto held = pool_->lock();
  if (&DatasetFiles::files_of(from) != &DatasetFiles::files_of(to)) {
    return make_error(EXDEV, "copy_file_range between datasets");
  }
  return DatasetFiles::files_of(from).copy_range(from, from_offset, to, to_offset, length);
}

Result<HandleId> PoolFiles::open_directory(NodeId node) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return HandleId{0};
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->open_directory(object_of(node));
}

Status PoolFiles::read_directory(NodeId node, HandleId handle, std::uint64_t cookie, const TakeEntry& take) {
  const auto held = pool_->lock();
  if (node != kRootNode) {
    SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
    return shown->files->read_directory(object_of(node), handle, cookie, [&](DirectoryEntry entry) {
      entry.inode = inode_of(shown->dataset, entry.inode);
      return take(entry);
    });
  }
  constexpr std::uint64_t kDots = 2;  // cookies before a dataset's number
  if ((cookie < 1 && !take({".", kRootNode, DT_DIR, 1})) || (cookie < kDots && !take({"..", kRootNode, DT_DIR, kDots}))) {
    return {};
  }
  for (const DatasetInfo& info : pool_->list()) {
    if (info.record.is_snapshot == 0 && info.id + kDots > cookie &&
        !take({info.name, inode_of(info.id, kRootObject), DT_DIR, info.id + kDots})) {
      break;
    }
  }
  return {};
}

void PoolFiles::release_directory(NodeId node, HandleId handle) { release(node, handle); }

Status PoolFiles::sync_directory(NodeId node) { return node == kRootNode ? pool_->sync() : pool_->make_durable(); }

Result<struct statvfs> PoolFiles::statistics() {
  const PoolStatistics pool = pool_->statistics();
  struct statvfs statistics {};
  statistics.f_bsize = new_datasets_.record_bytes;
  statistics.f_frsize = kSector;
  statistics.f_blocks = pool.total_bytes / kSector;
  statistics.f_bfree = pool.free_bytes / kSector;
  statistics.f_bavail = pool.free_bytes / 32 * 31 / kSector;
  statistics.f_ffree = statistics.f_favail = pool.free_bytes / kDnodeBytes;
  statistics.f_files = pool.total_bytes / kDnodeBytes;
  statistics.f_namemax = kDirectoryNameMax;
  return statistics;
}

Result<std::string> PoolFiles::xattr(NodeId node, const char* name) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return std::string_view(name) == "user.pool" ? Result<std::string>(describe(pool_->statistics())) : make_error(ENODATA, "{}", name);
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  if (object_of(node) == kRootObject && std::string_view(name) == "user.own_bytes") {
    SBENCH_TRY_SET(const DatasetInfo own, pool_->info(shown->name));
    std::uint64_t bytes = own.record.own_bytes;
    for (const DatasetInfo& snapshot : pool_->list(shown->name + "@")) {  // they go with it
      bytes += snapshot.record.own_bytes;
    }
    return std::to_string(bytes);
  }
  return shown->files->xattr(object_of(node), name);
}

Result<std::string> PoolFiles::xattr_names(NodeId node) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return std::string();
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->xattr_names(object_of(node));
}

Status PoolFiles::clone(std::string_view origin, std::string_view name) {
  const std::string snapshot = fmt::format("{}@{}", origin, name);
  SBENCH_TRY_SET(const DatasetInfo info, pool_->info(origin));
  if (info.record.is_snapshot != 0) {
    return make_error(ENOENT, "{}", origin);
  }
  if (pool_->info(name).ok()) {
    return make_error(EEXIST, "{}", name);
  }
  if (pool_->info(snapshot).ok()) {
    SBENCH_TRY(pool_->destroy(snapshot));  // a killed process made it
  }
  SBENCH_TRY(pool_->snapshot(origin, snapshot));
  SBENCH_TRY(pool_->clone(snapshot, name));
  return pool_->destroy(snapshot, true);
}

Status PoolFiles::set_xattr(NodeId node, const char* name, std::string_view value, int flags) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    const auto space = value.find(' ');
    if (std::string_view(name) != "user.clone" || space == std::string_view::npos) {
      return not_at_the_top("attribute");
    }
    origins_[std::string(value.substr(space + 1))] = value.substr(0, space);
    return {};
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->set_xattr(object_of(node), name, value, flags);
}

Status PoolFiles::remove_xattr(NodeId node, const char* name) {
  const auto held = pool_->lock();
  if (node == kRootNode) {
    return make_error(ENODATA, "{}", name);
  }
  SBENCH_TRY_SET(const Shown* const shown, shown_of(node));
  return shown->files->remove_xattr(object_of(node), name);
}

Status PoolFiles::sync() { return pool_->sync(); }

}  // namespace sbench::cow_fs
