#include "drivers/cow_fs/dataset_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kDotCookie = 1;  // positions of names are larger
constexpr std::uint64_t kDotDotCookie = 2;
constexpr std::size_t kCopyPieceBytes = 1 << 20;

Operation operation_of(OperationKind kind, NodeId node, std::string_view name = {}) {
  Operation operation;
  operation.kind = kind;
  operation.node = node;
  operation.name = name;
  operation.now = time_now();
  return operation;
}

Time to_time(const timespec& time) { return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec), 0}; }

}  // namespace

Result<std::unique_ptr<DatasetFiles>> DatasetFiles::open(Pool& pool, std::string_view name) {
  const auto held = pool.lock();
  SBENCH_TRY_SET(Dataset* const dataset, pool.use(name));
  return std::unique_ptr<DatasetFiles>(new DatasetFiles(pool, *dataset));
}

DatasetFiles::~DatasetFiles() {
  const auto held = pool_.lock();
  for (const auto& [id, object] : referenced_) {
    object->references = 0;
    object->handles = 0;
  }
  referenced_.clear();
  pool_.unuse(dataset_);
}

Entry DatasetFiles::enter(const ObjectRef& object) {
  ++object->references;
  referenced_.try_emplace(object->id(), object);
  Entry entry;
  entry.node = object->id();
  entry.attributes = tree_.attributes(*object);
  return entry;
}

void DatasetFiles::drop(const ObjectRef& object, std::uint64_t references) {
  object->references -= std::min(object->references, references);
  if (object->references > 0) {
    return;
  }
  // An error keeps the orphan on its list: it goes when the dataset is used next.
  if (!dataset_.is_snapshot() && pool_.statistics().failure.empty()) {
    static_cast<void>(tree_.unreferenced(object));
  }
  referenced_.erase(object->id());
}

Result<Entry> DatasetFiles::lookup(NodeId parent, std::string_view name) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.lookup(parent, name));
  return enter(object);
}

void DatasetFiles::forget(NodeId node, std::uint64_t references) {
  const auto held = pool_.lock();
  if (const auto found = referenced_.find(node); found != referenced_.end()) {
    const ObjectRef object = found->second;
    drop(object, references);
  }
}

Result<struct stat> DatasetFiles::attributes(NodeId node, HandleId /*handle*/) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(node));
  return tree_.attributes(*object);
}

Result<struct stat> DatasetFiles::set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) {
  Operation operation = operation_of(OperationKind::set_attributes, node);
  operation.flags = mask;
  operation.mode = wanted.st_mode;
  operation.uid = wanted.st_uid;
  operation.gid = wanted.st_gid;
  operation.offset = static_cast<std::uint64_t>(wanted.st_size);
  operation.accessed = to_time(wanted.st_atim);
  operation.modified = to_time(wanted.st_mtim);
  const auto held = pool_.lock();
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return attributes(node, handle);
}

Result<std::string> DatasetFiles::read_link(NodeId node) {
  const auto held = pool_.lock();
  return tree_.read_link(node);
}

Result<Entry> DatasetFiles::make(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device,
                                 std::string_view target) {
  Operation operation = operation_of(OperationKind::make, parent, name);
  operation.mode = mode;
  operation.uid = caller.uid;
  operation.gid = caller.gid;
  operation.umask = caller.umask;
  operation.device = device;
  operation.data = target;
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const std::uint64_t made, pool_.perform(dataset_, operation));
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(made));
  return enter(object);
}

Result<Entry> DatasetFiles::make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device) {
  return make(caller, parent, name, (mode & S_IFMT) == 0 ? mode | S_IFREG : mode, device, {});
}

Result<Entry> DatasetFiles::make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) {
  return make(caller, parent, name, (mode & ~mode_t{S_IFMT}) | S_IFDIR, 0, {});
}

Result<Entry> DatasetFiles::make_symlink(const Caller& caller, NodeId parent, std::string_view name, std::string_view target) {
  return make(caller, parent, name, S_IFLNK | 0777, 0, target);
}

Result<Entry> DatasetFiles::make_link(NodeId node, NodeId parent, std::string_view name) {
  Operation operation = operation_of(OperationKind::link, node, name);
  operation.other = parent;
  const auto held = pool_.lock();
  SBENCH_TRY(pool_.perform(dataset_, operation));
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(node));
  return enter(object);
}

Status DatasetFiles::unlink(NodeId parent, std::string_view name) {
  Operation operation = operation_of(OperationKind::unlink, parent, name);
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Status DatasetFiles::remove_directory(NodeId parent, std::string_view name) {
  Operation operation = operation_of(OperationKind::remove_directory, parent, name);
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Status DatasetFiles::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name, unsigned flags) {
  Operation operation = operation_of(OperationKind::rename, parent, name);
  operation.other = new_parent;
  operation.data = new_name;
  operation.flags = flags;
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Result<OpenFile> DatasetFiles::open_object(const ObjectRef& object, int flags) {
  ++object->references;
  ++object->handles;
  referenced_.try_emplace(object->id(), object);
  auto handle = std::make_unique<Handle>();
  handle->files = this;
  handle->object = object;
  ++handles_;
  handle->synchronous = (flags & (O_SYNC | O_DSYNC)) != 0;
  OpenFile file;
  file.handle = reinterpret_cast<HandleId>(handle.release());
  return file;
}

Result<FileSystem::Created> DatasetFiles::create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, int flags) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(Entry entry, make(caller, parent, name, (mode & ~mode_t{S_IFMT}) | S_IFREG, 0, {}));
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(entry.node));
  SBENCH_TRY_SET(const OpenFile file, open_object(object, flags));
  return Created{entry, file};
}

Result<OpenFile> DatasetFiles::open(NodeId node, int flags) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(node));
  if (S_ISDIR(attributes_of(*object).mode)) {
    return make_error(EISDIR, "object {}", node);
  }
  if ((flags & O_ACCMODE) != O_RDONLY && dataset_.is_snapshot()) {
    return make_error(EROFS, "{}", dataset_.name());
  }
  if ((flags & O_TRUNC) != 0 && object->dnode().size > 0) {
    struct stat wanted {};
    SBENCH_TRY(set_attributes(node, 0, static_cast<unsigned>(AttributeMask::size), wanted));
  }
  return open_object(object, flags);
}

Result<std::size_t> DatasetFiles::read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) {
  const auto held = pool_.lock();
  ObjectRef object;
  if (handle != 0) {
    object = handle_of(handle).object;
  } else {
    SBENCH_TRY_SET(object, tree_.node(node));
  }
  const std::uint64_t size = object->dnode().size;
  if (offset >= size) {
    return std::size_t{0};
  }
  into = into.first(std::min<std::uint64_t>(into.size(), size - offset));
  SBENCH_TRY(object->read(offset, into));
  return into.size();
}

Result<std::size_t> DatasetFiles::write(NodeId node, HandleId handle, std::span<const std::byte> from, std::uint64_t offset) {
  Operation operation = operation_of(OperationKind::write, node);
  operation.offset = offset;
  operation.data = {reinterpret_cast<const char*>(from.data()), from.size()};
  SBENCH_TRY(pool_.perform(dataset_, operation));
  if (handle != 0 && handle_of(handle).synchronous) {
    SBENCH_TRY(pool_.make_durable());
  }
  return from.size();
}

void DatasetFiles::release(NodeId /*node*/, HandleId handle) {
  const auto held = pool_.lock();
  const std::unique_ptr<Handle> closed(&handle_of(handle));
  closed->object->handles -= 1;
  --handles_;
  drop(closed->object, 1);
}

Status DatasetFiles::sync_file(NodeId /*node*/, HandleId /*handle*/, bool /*data_only*/) { return pool_.make_durable(); }

Status DatasetFiles::allocate(NodeId node, HandleId /*handle*/, int mode, std::uint64_t offset, std::uint64_t length) {
  Operation operation = operation_of(OperationKind::allocate, node);
  operation.flags = static_cast<std::uint32_t>(mode);
  operation.offset = offset;
  operation.length = length;
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Result<std::uint64_t> DatasetFiles::seek(NodeId node, HandleId /*handle*/, std::uint64_t offset, int whence) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.node(node));
  const std::uint64_t size = object->dnode().size;
  if (offset >= size) {
    return make_error(ENXIO, "offset {} of a file with {} bytes", offset, size);
  }
  SBENCH_TRY_SET(const std::uint64_t found, object->seek(offset, whence == SEEK_DATA));
  if (whence == SEEK_DATA && found >= size) {
    return make_error(ENXIO, "no data behind {}", offset);
  }
  return std::min(found, size);
}

Result<std::size_t> DatasetFiles::copy_range(HandleId from, std::uint64_t from_offset, HandleId to, std::uint64_t to_offset,
                                             std::size_t length) {
  const auto held = pool_.lock();
  Bytes piece(std::min(length, kCopyPieceBytes));
  std::size_t done = 0;
  while (done < length) {
    const auto into = std::span<std::byte>(piece).first(std::min(piece.size(), length - done));
    SBENCH_TRY_SET(const std::size_t got, read(handle_of(from).object->id(), from, into, from_offset + done));
    if (got == 0) {
      break;
    }
    SBENCH_TRY(write(handle_of(to).object->id(), to, into.first(got), to_offset + done));
    done += got;
  }
  return done;
}

Result<HandleId> DatasetFiles::open_directory(NodeId node) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.directory(node));
  SBENCH_TRY_SET(const OpenFile file, open_object(object, O_RDONLY));
  return file.handle;
}

Status DatasetFiles::read_directory(NodeId node, HandleId /*handle*/, std::uint64_t cookie, const TakeEntry& take) {
  const auto held = pool_.lock();
  SBENCH_TRY_SET(const ObjectRef object, tree_.directory(node));
  const Attributes attributes = attributes_of(*object);
  if (cookie < kDotCookie && !take({".", node, DT_DIR, kDotCookie})) {
    return {};
  }
  if (cookie < kDotDotCookie && !take({"..", attributes.parent, DT_DIR, kDotDotCookie})) {
    return {};
  }
  return list_names(*object, cookie + 1, [&](const Name& name) {
    return take({name.text, name.object, name.type, name.position});
  });
}

void DatasetFiles::release_directory(NodeId node, HandleId handle) { release(node, handle); }

Status DatasetFiles::sync_directory(NodeId /*node*/) { return pool_.make_durable(); }

Result<struct statvfs> DatasetFiles::statistics() {
  const auto held = pool_.lock();
  struct statvfs statistics {};
  const std::uint64_t available = pool_.available_bytes(dataset_);
  const std::uint64_t used = dataset_.record.quota_bytes > 0 ? dataset_.record.own_bytes : dataset_.record.referenced_bytes;
  statistics.f_bsize = dataset_.record.record_bytes;
  statistics.f_frsize = kSector;
  statistics.f_blocks = (available + used) / kSector;
  statistics.f_bfree = statistics.f_bavail = available / kSector;
  statistics.f_ffree = statistics.f_favail = available / kDnodeBytes;
  statistics.f_files = dataset_.objects->objects() + statistics.f_ffree;
  statistics.f_namemax = kDirectoryNameMax;
  statistics.f_flag = dataset_.is_snapshot() ? ST_RDONLY : 0;
  return statistics;
}

Result<std::string> DatasetFiles::xattr(NodeId node, const char* name) {
  const auto held = pool_.lock();
  return tree_.xattr(node, name);
}

Result<std::string> DatasetFiles::xattr_names(NodeId node) {
  const auto held = pool_.lock();
  return tree_.xattr_names(node);
}

Status DatasetFiles::set_xattr(NodeId node, const char* name, std::string_view value, int flags) {
  Operation operation = operation_of(OperationKind::set_xattr, node, name);
  operation.data = value;
  operation.flags = static_cast<std::uint32_t>(flags);
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Status DatasetFiles::remove_xattr(NodeId node, const char* name) {
  Operation operation = operation_of(OperationKind::remove_xattr, node, name);
  SBENCH_TRY(pool_.perform(dataset_, operation));
  return {};
}

Status DatasetFiles::sync() { return pool_.sync(); }

}  // namespace sbench::cow_fs
