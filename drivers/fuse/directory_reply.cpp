#include "drivers/fuse/directory_reply.h"

#include <dirent.h>

#include <cstring>
#include <vector>

#include "drivers/fuse/reply.h"

namespace sbench::fuse {

namespace {

struct Listed {
  std::string name;
  fuse_dirent head{};
  [[nodiscard]] bool is_dots() const { return name == "." || name == ".."; }
};

std::size_t entry_bytes(std::size_t name_bytes, bool plus) {
  const std::size_t bare = (plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) + name_bytes;
  return FUSE_DIRENT_ALIGN(bare);
}

/// What fits. Looked up afterwards, as the file system may hold its directory while it lists.
Result<std::vector<Listed>> list(FileSystem& files, NodeId node, HandleId handle, std::size_t size,
                                 std::uint64_t cookie, bool plus) {
  std::vector<Listed> listed;
  std::size_t used = 0;
  SBENCH_TRY(files.read_directory(node, handle, cookie, [&](const DirectoryEntry& entry) {
    used += entry_bytes(entry.name.size(), plus);
    if (used > size) {
      return false;
    }
    Listed& next = listed.emplace_back();
    next.name = entry.name;
    next.head.ino = entry.inode;
    next.head.off = entry.cookie;
    next.head.namelen = static_cast<std::uint32_t>(entry.name.size());
    next.head.type = entry.type;
    return true;
  }));
  return listed;
}

/// An entry that cannot be looked up now (it is gone, say) is still listed, without a node.
fuse_entry_out look_up(Session::State& state, KernelNode directory, const Listed& listed) {
  if (!listed.is_dots()) {
    if (auto entry = state.files.lookup(node_of(directory), listed.name); entry.ok()) {
      return take_entry(state, directory, listed.name, std::move(entry).value());
    }
  }
  fuse_entry_out none{};
  none.attr.ino = listed.head.ino;
  none.attr.mode = DTTOIF(listed.head.type);
  return none;
}

}  // namespace

void reply_directory(fuse_req_t request, KernelNode node, HandleId handle, std::size_t size, std::uint64_t cookie,
                     bool plus) {
  Session::State& state = state_of(request);
  const auto buffer = reply_buffer().first(std::min(size, kTransferBytesMax));
  const auto listed = list(state.files, node_of(node), handle, buffer.size(), cookie, plus);
  if (!listed.ok()) {
    reply_error(request, listed.error());
    return;
  }
  std::byte* at = buffer.data();
  std::vector<KernelNode> taken;
  for (const auto& each : *listed) {
    const std::size_t bytes = entry_bytes(each.name.size(), plus);
    std::memset(at, 0, bytes);
    std::byte* head = at;
    if (plus) {
      const fuse_entry_out entry = look_up(state, node, each);
      std::memcpy(head, &entry, sizeof(entry));
      head += sizeof(entry);
      if (entry.nodeid != 0) {
        taken.push_back(entry.nodeid);
      }
    }
    std::memcpy(head, &each.head, FUSE_NAME_OFFSET);
    std::memcpy(head + FUSE_NAME_OFFSET, each.name.data(), each.name.size());
    at += bytes;
  }
  const auto used = static_cast<std::size_t>(at - buffer.data());
  if (fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), used) != 0) {
    for (const KernelNode each : taken) {
      drop_entry(state, each);
    }
  }
}

}  // namespace sbench::fuse
