// union_fs_directory.cpp: reading directories, and the cache of merged ones.
//
// A directory of one branch is streamed with the branch's own offsets as
// cookies. One of several branches is read once into a DirectoryIndex, whose
// positions are the cookies; lookups use it too.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/origin.h"
#include "drivers/union_fs/scan.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench::union_fs {

struct DirectoryHandle {
  Node* node = nullptr;
  std::mutex lock;
  // Streamed: a descriptor of its own and what was read ahead from it.
  Fd fd;
  BranchIndex branch = 0;
  std::vector<char> buffer;
  std::size_t size = 0;
  std::size_t position = 0;
  std::uint64_t next_cookie = 0;  ///< of the record at `position`'s predecessor
  // Merged.
  std::shared_ptr<DirectoryIndex> index;
};

namespace {

DirectoryHandle& directory_handle_of(HandleId id) { return *reinterpret_cast<DirectoryHandle*>(id); }

// Cookies of "." and "..": above every offset file systems use, below what lseek(2) could not take.
constexpr std::uint64_t kAfterDot = 0x7ffffffffffffff0;
constexpr std::uint64_t kAfterDotDot = 0x7ffffffffffffff1;
constexpr std::size_t kBufferBytes = 32768;
constexpr std::uint32_t kProbesBeforeIndex = 16;

}  // namespace

bool UnionFs::wants_index(const Node& directory) const {
  const DirectoryState& of = *directory.directory;
  return of.merged.load(std::memory_order_relaxed) && !of.oversized.load(std::memory_order_relaxed) &&
         !of.indexed.load(std::memory_order_relaxed) &&
         of.probes.load(std::memory_order_relaxed) >= kProbesBeforeIndex;
}

Status UnionFs::build_index_locked(Node& directory) {
  DirectoryState& of = *directory.directory;
  if (of.index != nullptr) {
    return {};
  }
  auto index = std::make_shared<DirectoryIndex>();
  std::vector<std::string> whiteouts;  // of one branch: they hide what is below it
  for (std::size_t i = 0; i < of.branches.size(); ++i) {
    const BranchIndex branch = of.branches[i];
    SBENCH_TRY_SET(const FdLease fd, directory_fd(directory, branch));
    const bool may_have_marked = std::find(of.xattr_whiteouts.begin(), of.xattr_whiteouts.end(), branch) !=
                                 of.xattr_whiteouts.end();
    whiteouts.clear();
    const auto take = [&](const ScannedEntry& entry) {
      if (dialect_.aufs && entry.name.starts_with(kWhiteoutPrefix)) {
        if (whiteout_name(entry.name) == WhiteoutName::whiteout) {
          whiteouts.emplace_back(entry.name.substr(4));
        }
        return 0;
      }
      if (DirectoryIndex::Entry* known = index->find(entry.name)) {
        known->also_lower = known->also_lower || !known->whiteout;
        return 0;
      }
      unsigned char type = entry.type;
      if (type == DT_UNKNOWN || (!dialect_.aufs && (type == DT_CHR || (may_have_marked && type == DT_REG)))) {
        const std::string name(entry.name);
        struct stat status {};
        if (::fstatat(fd->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
          return errno == ENOENT ? 0 : errno;
        }
        type = static_cast<unsigned char>(IFTODT(status.st_mode));
        if (is_whiteout(directory, branch, fd->get(), name.c_str(), status)) {
          whiteouts.push_back(name);
          return 0;
        }
      }
      std::uint64_t inode = branches_.shown(branch, entry.inode);
      if (branch == kUpper) {
        std::string value;
        if (get_xattr(fd->get(), entry.name, dialect_.origin.c_str(), value) == 0) {
          inode = decode_origin(branches_, value).value_or(inode);
        }
      }
      index->add(entry.name, branch, type, inode);
      return 0;
    };
    if (const int code = scan_directory(fd->get(), take); code != 0) {
      return make_error(code, "cannot read the directory {}", directory.name);
    }
    for (const auto& name : whiteouts) {
      if (index->find(name) == nullptr) {
        index->add_whiteout(name, branch);
      }
    }
  }
  of.index = std::move(index);
  of.indexed = true;
  account_index_locked(directory);
  return {};
}

// Counts the directory's index and forgets the oldest others beyond the limit.
void UnionFs::account_index_locked(Node& directory) {
  DirectoryState& of = *directory.directory;
  const std::lock_guard guard(cache_lock_);
  if (of.index_bytes == 0) {
    of.cached = cached_.insert(cached_.end(), &directory);
  }
  cached_bytes_ -= of.index_bytes;
  of.index_bytes = of.index->bytes();
  cached_bytes_ += of.index_bytes;
  of.oversized.store(of.index_bytes > options_.directory_cache_bytes, std::memory_order_relaxed);
  for (auto at = cached_.begin(); cached_bytes_ > options_.directory_cache_bytes && at != cached_.end();) {
    if (*at == &directory) {  // the one in use stays, however large
      ++at;
      continue;
    }
    DirectoryState& other = *(*at)->directory;
    const std::unique_lock lock(other.lock, std::try_to_lock);
    if (!lock.owns_lock()) {
      ++at;
      continue;
    }
    cached_bytes_ -= other.index_bytes;
    other.index_bytes = 0;
    other.index.reset();
    other.indexed = false;
    other.probes = 0;
    at = cached_.erase(at);
  }
}

void UnionFs::drop_index_locked(Node& directory) {
  DirectoryState& of = *directory.directory;
  const std::lock_guard guard(cache_lock_);
  if (of.index_bytes == 0) {
    return;
  }
  cached_.erase(of.cached);
  cached_bytes_ -= of.index_bytes;
  of.index_bytes = 0;
  of.index.reset();
  of.indexed = false;
  of.probes = 0;
}

std::size_t UnionFs::cached_bytes() {
  const std::lock_guard guard(cache_lock_);
  return cached_bytes_;
}

void UnionFs::note_put_locked(Node& directory, std::string_view name, const Node& child) {
  DirectoryState& of = *directory.directory;
  if (of.index == nullptr) {
    return;
  }
  of.index->put_upper(name, child.type, child.inode);
  if (of.index->worn()) {
    drop_index_locked(directory);  // open handles keep it as it is
  } else if (of.index->bytes() != of.index_bytes) {
    account_index_locked(directory);
  }
}

void UnionFs::note_removed_locked(Node& directory, std::string_view name, bool lower) {
  if (directory.directory->index != nullptr) {
    directory.directory->index->remove(name, lower);
  }
}

Result<HandleId> UnionFs::open_directory(NodeId id) {
  Node& node = node_of(id);
  if (!node.is_directory()) {
    return answer(ENOTDIR);
  }
  auto handle = std::make_unique<DirectoryHandle>();
  handle->node = &node;
  NodeTable::hold(node);
  return reinterpret_cast<HandleId>(handle.release());
}

void UnionFs::release_directory(NodeId, HandleId id) {
  DirectoryHandle* handle = &directory_handle_of(id);
  Node* node = handle->node;
  delete handle;
  table_.drop(node);
}

Status UnionFs::read_directory(NodeId id, HandleId handle_id, std::uint64_t cookie, const TakeEntry& take) {
  Node& node = node_of(id);
  DirectoryHandle& handle = directory_handle_of(handle_id);
  const std::lock_guard guard(handle.lock);
  std::uint64_t parent_inode = node.inode;
  if (cookie == 0) {
    // The start of a reading: the directory as it is now, streamed or merged.
    const SharedTree tree(tree_);
    if (node.parent != nullptr) {
      parent_inode = node.parent->inode;
    }
    handle.index.reset();
    handle.fd.reset();
    handle.size = handle.position = 0;
    if (node.directory->dead.load()) {
      handle.index = std::make_shared<DirectoryIndex>();
    } else if (node.directory->merged.load()) {
      const DirectoryLock lock(node.directory->lock);
      SBENCH_TRY(build_index_locked(node));
      handle.index = node.directory->index;
    } else {
      const std::shared_lock lock(node.directory->lock);
      handle.branch = node.directory->branches.front();
      SBENCH_TRY_SET(const FdLease fd, directory_fd(node, handle.branch));
      handle.fd = Fd(::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC));
      if (!handle.fd.valid()) {
        return answer();
      }
    }
  }
  if (cookie == 0 && !take({".", node.inode, DT_DIR, kAfterDot})) {
    return {};
  }
  if (cookie == 0 || cookie == kAfterDot) {
    if (!take({"..", parent_inode, DT_DIR, kAfterDotDot})) {
      return {};
    }
    cookie = kAfterDotDot;
  }
  cookie = cookie == kAfterDotDot ? 0 : cookie;
  return handle.index != nullptr ? read_merged(node, handle, cookie, take) : read_stream(node, handle, cookie, take);
}

Status UnionFs::read_merged(Node& directory, DirectoryHandle& handle, std::uint64_t cookie, const TakeEntry& take) {
  struct Copied {
    std::size_t begin;
    std::size_t size;
    std::uint64_t inode;
    unsigned type;
    std::uint64_t cookie;
  };
  // `take` may call back: entries are copied out first. Few at first, as little may be wanted.
  std::string names;
  std::vector<Copied> entries;
  for (std::size_t batch = 64;; batch = 512) {
    names.clear();
    entries.clear();
    {
      const SharedTree tree(tree_);  // a rename changes indexes with the tree held, and no directory's lock
      const std::shared_lock lock(directory.directory->lock);
      const DirectoryIndex& index = *handle.index;
      for (; cookie < index.size() && entries.size() < batch; ++cookie) {
        const DirectoryIndex::Entry& entry = index.at(cookie);
        if (entry.live && !entry.whiteout) {
          const std::string_view name = index.name(entry);
          entries.push_back({names.size(), name.size(), entry.inode, entry.type, cookie + 1});
          names.append(name);
        }
      }
    }
    for (const Copied& entry : entries) {
      if (!take({std::string_view(names).substr(entry.begin, entry.size), entry.inode, entry.type, entry.cookie})) {
        return {};
      }
    }
    if (entries.size() < batch) {
      return {};
    }
  }
}

Status UnionFs::read_stream(Node& directory, DirectoryHandle& handle, std::uint64_t cookie, const TakeEntry& take) {
  if (!handle.fd.valid()) {
    return answer(EINVAL);
  }
  if (handle.size == 0 || cookie != handle.next_cookie) {
    if (::lseek(handle.fd.get(), static_cast<off_t>(cookie), SEEK_SET) < 0) {
      return answer();
    }
    handle.size = handle.position = 0;
    handle.next_cookie = cookie;
  }
  bool origins = false;
  if (handle.branch == kUpper) {
    const SharedTree tree(tree_);
    const std::shared_lock lock(directory.directory->lock);
    origins = !directory.directory->dead.load() && may_have_origins(directory);
  }
  handle.buffer.resize(kBufferBytes);
  for (;;) {
    if (handle.position >= handle.size) {
      const long size = read_records(handle.fd.get(), handle.buffer.data(), handle.buffer.size());
      if (size <= 0) {
        handle.size = handle.position = 0;
        return size == 0 || errno == ENOENT ? Status() : Status(answer());
      }
      handle.size = static_cast<std::size_t>(size);
      handle.position = 0;
    }
    while (handle.position < handle.size) {
      std::size_t after = handle.position;
      const ScannedEntry entry = next_record(handle.buffer.data(), after);
      bool visible = !is_dot(entry.name) && !dialect_.reserved(entry.name);
      if (visible && !dialect_.aufs && (entry.type == DT_CHR || entry.type == DT_UNKNOWN)) {
        struct stat status {};
        visible = ::fstatat(handle.fd.get(), std::string(entry.name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                  !is_overlay_whiteout(status);
      }
      if (visible) {
        std::uint64_t inode = branches_.shown(handle.branch, entry.inode);
        std::string value;
        if (origins && get_xattr(handle.fd.get(), entry.name, dialect_.origin.c_str(), value) == 0) {
          inode = decode_origin(branches_, value).value_or(inode);
        }
        if (!take({entry.name, inode, entry.type, static_cast<std::uint64_t>(entry.offset)})) {
          return {};
        }
      }
      handle.position = after;
      handle.next_cookie = static_cast<std::uint64_t>(entry.offset);
    }
  }
}

Status UnionFs::sync_directory(NodeId id) {
  Node& node = node_of(id);
  if (options_.sync == UnionSync::none || !node.is_upper() || !branches_.has_upper()) {
    return {};
  }
  const SharedTree tree(tree_);
  SBENCH_TRY_SET(const FdLease fd, upper_fd(node));
  return ::fsync(fd->get()) == 0 ? Status() : Status(answer());
}

}  // namespace sbench::union_fs
