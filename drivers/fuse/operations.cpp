// operations.cpp: one callback for each kind of request; each asks the FileSystem and answers.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "drivers/fuse/directory_reply.h"
#include "drivers/fuse/reply.h"

namespace sbench::fuse {

namespace {

/// libfuse's file handle is a number.
OpenRecord* record_of(const fuse_file_info* info) {
  return reinterpret_cast<OpenRecord*>(info->fh);
}

/// A file as the FileSystem knows it; without a record (SessionOptions::opens) its handle is 0.
struct File {
  NodeId node = 0;
  HandleId handle = 0;
};

File file_of(KernelNode node, const fuse_file_info* info) {
  const OpenRecord* record = record_of(info);
  return record != nullptr ? File{record->node, record->file.handle} : File{node_of(node), 0};
}

Caller caller_of(fuse_req_t request) {
  const fuse_ctx& context = *fuse_req_ctx(request);
  return {context.uid, context.gid, context.pid, context.umask};
}

void init(void* session, fuse_conn_info* connection) {
  const SessionOptions& options = static_cast<const Session::State*>(session)->options;
  const unsigned background_max = options.background_max;
  const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_DONT_MASK | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS |
                          FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL |
                          FUSE_CAP_CACHE_SYMLINKS | (options.opens ? FUSE_CAP_ATOMIC_O_TRUNC : FUSE_CAP_NO_OPEN_SUPPORT);
  connection->want = wanted & connection->capable;
  connection->max_write = kTransferBytesMax;
  connection->max_background = background_max;
  connection->congestion_threshold = background_max * 3 / 4;
  connection->time_gran = 1;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Session::State& state = state_of(request);
  const auto found = state.files.lookup(node_of(parent), name);
  if (!found.ok() && found.error().code == ENOENT) {
    fuse_entry_out none{};  // node 0: the kernel remembers that there is no such name
    none.entry_valid = static_cast<std::uint64_t>(state.options.cache_s);
    reply_body(request, none);
    return;
  }
  reply_entry(request, parent, name, found);
}

void forget_one(Session::State& state, KernelNode node, std::uint64_t references) {
  if (node_of(node) == kRootNode) {
    return;
  }
  if (state.known->forget(node, references)) {
    state.open_files->forgotten(node);
  }
  state.files.forget(node_of(node), references);
}

void forget(fuse_req_t request, fuse_ino_t node, std::uint64_t references) {
  forget_one(state_of(request), node, references);
  fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  for (std::size_t i = 0; i < count; ++i) {
    forget_one(state_of(request), forgets[i].ino, forgets[i].nlookup);
  }
  fuse_reply_none(request);
}

/// The open file to reach `node` through: the request's own, or any (for unlinked files); unseen writes are made known.
std::shared_ptr<OpenRecord> way_to(Session::State& state, KernelNode node) {
  const NodeId id = node_of(node);
  if (auto writer = state.open_files->unseen_writer(id)) {
    state.files.written(id, writer->file.handle);
    return writer;
  }
  return state.open_files->any_open(id);
}

void getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info* /*info*/) {
  Session::State& state = state_of(request);
  const auto open = way_to(state, node);
  reply_attributes(request, node, state.files.attributes(node_of(node), open ? open->file.handle : 0));
}

unsigned mask_of(int to_set) {
  const auto bit = [to_set](int flag, AttributeMask mask) {
    return (to_set & flag) != 0 ? static_cast<unsigned>(mask) : 0U;
  };
  unsigned mask = bit(FUSE_SET_ATTR_MODE, AttributeMask::mode) | bit(FUSE_SET_ATTR_UID, AttributeMask::uid) |
                  bit(FUSE_SET_ATTR_GID, AttributeMask::gid) | bit(FUSE_SET_ATTR_SIZE, AttributeMask::size);
  mask |= (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0 ? static_cast<unsigned>(AttributeMask::atime_now)
                                                  : bit(FUSE_SET_ATTR_ATIME, AttributeMask::atime);
  mask |= (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0 ? static_cast<unsigned>(AttributeMask::mtime_now)
                                                  : bit(FUSE_SET_ATTR_MTIME, AttributeMask::mtime);
  return mask;
}

void setattr(fuse_req_t request, fuse_ino_t node, struct stat* wanted, int to_set, fuse_file_info* info) {
  Session::State& state = state_of(request);
  unsigned mask = mask_of(to_set);
  if ((current_body<fuse_setattr_in>().valid & FATTR_KILL_SUIDGID) != 0) {
    mask |= static_cast<unsigned>(AttributeMask::drop_privileges);
  }
  const auto open = way_to(state, node);
  const HandleId handle = info != nullptr ? file_of(node, info).handle : open ? open->file.handle : 0;
  reply_attributes(request, node, state.files.set_attributes(node_of(node), handle, mask, *wanted));
}

void readlink(fuse_req_t request, fuse_ino_t node) {
  const auto target = state_of(request).files.read_link(node_of(node));
  target.ok() ? static_cast<void>(fuse_reply_readlink(request, target->c_str())) : reply_error(request, target.error());
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  reply_entry(request, parent, name,
              state_of(request).files.make_node(caller_of(request), node_of(parent), name, mode, device));
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  reply_entry(request, parent, name, state_of(request).files.make_directory(caller_of(request), node_of(parent), name, mode));
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  reply_entry(request, parent, name, state_of(request).files.make_symlink(caller_of(request), node_of(parent), name, target));
}

void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  reply_entry(request, parent, name, state_of(request).files.make_link(node_of(node), node_of(parent), name));
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply_status(request, state_of(request).files.unlink(node_of(parent), name));
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply_status(request, state_of(request).files.remove_directory(node_of(parent), name));
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) {
  reply_status(request, state_of(request).files.rename(node_of(parent), name, node_of(new_parent), new_name, flags));
}

void drop_privileges(FileSystem& files, const File& file) {
  struct stat nothing {};
  static_cast<void>(
      files.set_attributes(file.node, file.handle, static_cast<unsigned>(AttributeMask::drop_privileges), nothing));
}

bool is_writable(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

/// Whether a write must take privileges away, which the kernel leaves to the server.
bool has_privileges(FileSystem& files, NodeId node, HandleId handle) {
  const auto attributes = files.attributes(node, handle);
  return (attributes.ok() && (attributes->st_mode & (S_ISUID | S_ISGID)) != 0) ||
         files.xattr(node, "security.capability").ok();
}

wire::OpenOut to_wire(const OpenFiles::Admitted& admitted) {
  wire::OpenOut out;
  out.handle = reinterpret_cast<std::uint64_t>(admitted.record);
  out.open_flags = FOPEN_NOFLUSH;
  switch (admitted.mode) {
    case IoMode::passthrough:
      out.open_flags |= wire::kOpenPassthrough;
      out.backing_id = admitted.backing_id;
      break;
    case IoMode::direct:
      out.open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
      break;
    case IoMode::cached:
      out.open_flags |= admitted.record->file.keep_cache ? FOPEN_KEEP_CACHE : 0;
      break;
  }
  return out;
}

/// Opens `kernel_node` in the file system and takes the file in; nothing when it disagrees with those open already.
Result<std::optional<OpenFiles::Admitted>> try_open(Session::State& state, KernelNode kernel_node, int flags,
                                                    bool kill_privileges, bool may_retire) {
  const NodeId node = node_of(kernel_node);
  SBENCH_TRY_SET(const OpenFile file, state.files.open(node, flags));
  const bool writable = is_writable(flags);
  auto record = std::make_shared<OpenRecord>(state.files, node, file, writable);
  if (kill_privileges) {
    drop_privileges(state.files, {node, file.handle});
  }
  const bool wants_server =
      writable && state.passthrough && file.backing_fd >= 0 && has_privileges(state.files, node, file.handle);
  return state.open_files->admit(kernel_node, std::move(record), wants_server, may_retire);
}

void open(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) {
  constexpr std::uint32_t kKillPrivileges = 1;  // FUSE_OPEN_KILL_SUIDGID
  Session::State& state = state_of(request);
  if (!state.options.opens) {
    fuse_reply_err(request, ENOSYS);  // the kernel does not ask again
    return;
  }
  const bool kill_privileges = (current_body<fuse_open_in>().open_flags & kKillPrivileges) != 0;
  for (const bool last : {false, true}) {
    if (state.open_files->current(node_of(node)) != node) {
      break;
    }
    // The second time: another opener's copy-up may have come between open and admission.
    const auto opened = try_open(state, node, info->flags, kill_privileges, last);
    if (!opened.ok()) {
      reply_error(request, opened.error());
      return;
    }
    if (!*opened) {
      continue;
    }
    const OpenFiles::Admitted& admitted = **opened;
    if (admitted.record->writable && admitted.mode == IoMode::passthrough) {
      state.invalidate_attributes(node);  // mmap writes will not tell
    }
    if (!reply_body(request, to_wire(admitted))) {
      state.open_files->close(admitted.record);
    }
    return;
  }
  state.invalidate_attributes(node);
  fuse_reply_err(request, ESTALE);  // the kernel looks the name up again, and finds the new alias
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  Session::State& state = state_of(request);
  if (!state.options.opens) {
    fuse_reply_err(request, ENOSYS);  // from now on it is MKNOD
    return;
  }
  auto created = state.files.create(caller_of(request), node_of(parent), name, mode, info->flags);
  if (!created.ok()) {
    reply_error(request, created.error());
    return;
  }
  const NodeId node = created->entry.node;
  const bool writable = is_writable(info->flags);
  auto record = std::make_shared<OpenRecord>(state.files, node, created->file, writable);
  const bool privileged = writable && (created->entry.attributes.st_mode & (S_ISUID | S_ISGID)) != 0;
  const auto admitted = state.open_files->admit(state.open_files->current(node), std::move(record), privileged, true);
  if (!admitted) {  // another opener came in between, and disagrees
    state.files.forget(node, 1);
    fuse_reply_err(request, ESTALE);
    return;
  }
  wire::CreateOut out;
  out.entry = take_entry(state, parent, name, created->entry);
  if (out.entry.attr_valid == 0 && out.entry.attr_valid_nsec == 0) {
    // For a tick, the resolution of file times: the kernel checks the open it is about to finish without asking again.
    out.entry.attr_valid_nsec = 1;
  }
  out.open = to_wire(*admitted);
  if (!reply_body(request, out)) {
    state.open_files->close(admitted->record);
    drop_entry(state, out.entry.nodeid);
  }
}

void release(fuse_req_t request, fuse_ino_t /*node*/, fuse_file_info* info) {
  Session::State& state = state_of(request);
  OpenRecord* record = record_of(info);
  if (record != nullptr) {
    if (record->writable && record->mode == IoMode::passthrough) {
      state.files.written(record->node, record->file.handle);
    }
    state.open_files->close(record);
  }
  fuse_reply_err(request, 0);
}

void read(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset, fuse_file_info* info) {
  const File file = file_of(node, info);
  const auto buffer = reply_buffer().first(std::min(size, kTransferBytesMax));
  const auto bytes =
      state_of(request).files.read(file.node, file.handle, buffer, static_cast<std::uint64_t>(offset));
  if (!bytes.ok()) {
    reply_error(request, bytes.error());
    return;
  }
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), *bytes);
}

void write(fuse_req_t request, fuse_ino_t node, const char* data, std::size_t size, off_t offset,
           fuse_file_info* info) {
  Session::State& state = state_of(request);
  const File file = file_of(node, info);
  const auto& asked = current_body<fuse_write_in>();
  if ((asked.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0) {
    drop_privileges(state.files, file);
  }
  auto bytes = state.files.write(file.node, file.handle, {reinterpret_cast<const std::byte*>(data), size},
                                 static_cast<std::uint64_t>(offset));
  if (bytes.ok() && !state.options.opens && (asked.flags & (O_SYNC | O_DSYNC)) != 0) {  // no open() told the file system
    if (const Status synced = state.files.sync_file(file.node, file.handle, (asked.flags & O_SYNC) != O_SYNC); !synced.ok()) {
      bytes = synced.error();
    }
  }
  bytes.ok() ? static_cast<void>(fuse_reply_write(request, *bytes)) : reply_error(request, bytes.error());
}

void flush(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, state_of(request).options.opens ? 0 : ENOSYS);  // ENOSYS: the kernel does not ask again
}

void fsync(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info* info) {
  const File file = file_of(node, info);
  reply_status(request, state_of(request).files.sync_file(file.node, file.handle, data_only != 0));
}

void fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, fuse_file_info* info) {
  const File file = file_of(node, info);
  reply_status(request, state_of(request).files.allocate(file.node, file.handle, mode, static_cast<std::uint64_t>(offset),
                                                         static_cast<std::uint64_t>(length)));
}

void lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info* info) {
  const File file = file_of(node, info);
  const auto found = state_of(request).files.seek(file.node, file.handle, static_cast<std::uint64_t>(offset), whence);
  found.ok() ? static_cast<void>(fuse_reply_lseek(request, static_cast<off_t>(*found)))
             : reply_error(request, found.error());
}

/// The file's own handle, or one opened for it.
class LentHandle {
 public:
  LentHandle(FileSystem& files, const File& file, int flags) : files_(files), file_(file), lent_(file.handle == 0) {
    if (lent_) {
      const auto opened = files_.open(file_.node, flags);
      status_ = opened.ok() ? Status() : Status(opened.error());
      file_.handle = opened.ok() ? opened->handle : 0;
    }
  }
  ~LentHandle() {
    if (lent_ && status_.ok()) {
      files_.release(file_.node, file_.handle);
    }
  }
  LentHandle(const LentHandle&) = delete;
  LentHandle& operator=(const LentHandle&) = delete;
  [[nodiscard]] const Status& status() const { return status_; }
  [[nodiscard]] HandleId handle() const { return file_.handle; }

 private:
  FileSystem& files_;
  File file_;
  bool lent_;
  Status status_;
};

Result<std::size_t> copy(FileSystem& files, const LentHandle& from, off_t from_offset, const LentHandle& to, off_t to_offset,
                         std::size_t length) {
  SBENCH_TRY(from.status());
  SBENCH_TRY(to.status());
  return files.copy_range(from.handle(), static_cast<std::uint64_t>(from_offset), to.handle(),
                          static_cast<std::uint64_t>(to_offset), length);
}

void copy_file_range(fuse_req_t request, fuse_ino_t from_node, off_t from_offset, fuse_file_info* from, fuse_ino_t to_node,
                     off_t to_offset, fuse_file_info* to, std::size_t length, int /*flags*/) {
  FileSystem& files = state_of(request).files;
  const LentHandle source(files, file_of(from_node, from), O_RDONLY);
  const LentHandle target(files, file_of(to_node, to), O_WRONLY);
  const auto bytes = copy(files, source, from_offset, target, to_offset, length);
  bytes.ok() ? static_cast<void>(fuse_reply_write(request, *bytes)) : reply_error(request, bytes.error());
}

void opendir(fuse_req_t request, fuse_ino_t node, fuse_file_info* /*info*/) {
  Session::State& state = state_of(request);
  const auto handle = state.files.open_directory(node_of(node));
  if (!handle.ok()) {
    reply_error(request, handle.error());
    return;
  }
  wire::OpenOut out;
  out.handle = *handle;
  if (!reply_body(request, out)) {
    state.files.release_directory(node_of(node), *handle);
  }
}

void readdir(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset, fuse_file_info* info) {
  reply_directory(request, node, info->fh, size, static_cast<std::uint64_t>(offset), false);
}

void readdirplus(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset, fuse_file_info* info) {
  reply_directory(request, node, info->fh, size, static_cast<std::uint64_t>(offset), true);
}

void releasedir(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) {
  state_of(request).files.release_directory(node_of(node), info->fh);
  fuse_reply_err(request, 0);
}

void fsyncdir(fuse_req_t request, fuse_ino_t node, int, fuse_file_info*) {
  reply_status(request, state_of(request).files.sync_directory(node_of(node)));
}

void statfs(fuse_req_t request, fuse_ino_t) {
  const auto statistics = state_of(request).files.statistics();
  statistics.ok() ? static_cast<void>(fuse_reply_statfs(request, &*statistics))
                  : reply_error(request, statistics.error());
}

/// A value for a caller that gave `size` bytes of room; 0: it asks how many are needed.
void reply_sized(fuse_req_t request, std::size_t size, const Result<std::string>& value) {
  if (!value.ok()) {
    reply_error(request, value.error());
  } else if (size == 0) {
    fuse_reply_xattr(request, value->size());
  } else if (value->size() > size) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, value->data(), value->size());
  }
}

void getxattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t size) {
  reply_sized(request, size, state_of(request).files.xattr(node_of(node), name));
}

void listxattr(fuse_req_t request, fuse_ino_t node, std::size_t size) {
  reply_sized(request, size, state_of(request).files.xattr_names(node_of(node)));
}

void setxattr(fuse_req_t request, fuse_ino_t node, const char* name, const char* value, std::size_t size, int flags) {
  reply_status(request, state_of(request).files.set_xattr(node_of(node), name, {value, size}, flags));
}

void removexattr(fuse_req_t request, fuse_ino_t node, const char* name) {
  reply_status(request, state_of(request).files.remove_xattr(node_of(node), name));
}

}  // namespace

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops table = [] {
    fuse_lowlevel_ops ops{};
    ops.init = init;
    ops.lookup = lookup;
    ops.forget = forget;
    ops.forget_multi = forget_multi;
    ops.getattr = getattr;
    ops.setattr = setattr;
    ops.readlink = readlink;
    ops.mknod = mknod;
    ops.mkdir = mkdir;
    ops.symlink = symlink;
    ops.link = link;
    ops.unlink = unlink;
    ops.rmdir = rmdir;
    ops.rename = rename;
    ops.open = open;
    ops.create = create;
    ops.release = release;
    ops.read = read;
    ops.write = write;
    ops.flush = flush;
    ops.fsync = fsync;
    ops.fallocate = fallocate;
    ops.lseek = lseek;
    ops.copy_file_range = copy_file_range;
    ops.opendir = opendir;
    ops.readdir = readdir;
    ops.readdirplus = readdirplus;
    ops.releasedir = releasedir;
    ops.fsyncdir = fsyncdir;
    ops.statfs = statfs;
    ops.getxattr = getxattr;
    ops.listxattr = listxattr;
    ops.setxattr = setxattr;
    ops.removexattr = removexattr;
    return ops;
  }();
  return table;
}

}  // namespace sbench::fuse
