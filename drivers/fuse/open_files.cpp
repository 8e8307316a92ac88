#include "drivers/fuse/open_files.h"

#include <sys/ioctl.h>

#include <algorithm>

#include "drivers/fuse/wire.h"

namespace sbench::fuse {

namespace {
std::uint16_t alias_of(KernelNode node) { return static_cast<std::uint16_t>(node >> kAliasShift); }
KernelNode kernel_node_of(NodeId node, std::uint16_t alias) { return node | (std::uint64_t{alias} << kAliasShift); }
}  // namespace

/// 0 when the kernel refuses; for good, when that will be so for every file.
std::int32_t OpenFiles::open_backing(int fd) {
  const wire::BackingMap map{fd, 0, 0};
  const int id = ::ioctl(device_, wire::kIoctlBackingOpen, &map);
  if (id <= 0 && (errno == EPERM || errno == ENOTTY || errno == EOPNOTSUPP || errno == ELOOP)) {
    passthrough_.store(false, std::memory_order_relaxed);
  }
  return std::max(id, 0);
}

bool OpenFiles::agree(Node& node, OpenRecord& record, IoMode wanted, std::int32_t& backing_id) {
  const auto found = node.modes.find(node.alias);
  Mode* there = found == node.modes.end() ? nullptr : &found->second;
  if (there == nullptr && wanted == IoMode::passthrough) {
    backing_id = open_backing(record.file.backing_fd);
    wanted = backing_id > 0 ? IoMode::passthrough : IoMode::cached;
  }
  if (there != nullptr && there->mode == IoMode::passthrough) {
    if (wanted != IoMode::passthrough || there->backing_key != record.file.backing_key) {
      return false;
    }
    backing_id = there->backing_id;
  } else if (there != nullptr && wanted == IoMode::passthrough) {
    wanted = IoMode::cached;  // the page cache is shared already
  }
  record.mode = wanted;
  if (wanted != IoMode::direct) {
    Mode& mode = node.modes[node.alias];
    mode.mode = wanted;
    mode.backing_key = record.file.backing_key;
    mode.backing_id = backing_id;
    ++mode.opens;
  }
  return true;
}

std::optional<OpenFiles::Admitted> OpenFiles::admit(KernelNode kernel_node, std::shared_ptr<OpenRecord> record,
                                                    bool wants_server, bool may_retire) {
  IoMode wanted = IoMode::cached;
  if (record->file.direct || wants_server) {
    wanted = IoMode::direct;
  } else if (record->file.backing_fd >= 0 && passthrough_.load(std::memory_order_relaxed)) {
    wanted = IoMode::passthrough;
  }
  Shard& shard = shard_of(record->node);
  const std::lock_guard lock(shard.mutex);
  Node& node = shard.nodes[record->node];
  if (alias_of(kernel_node) != node.alias) {
    if (node.records.empty() && node.alias == 0) {
      shard.nodes.erase(record->node);
    }
    return std::nullopt;
  }
  Admitted admitted;
  if (!agree(node, *record, wanted, admitted.backing_id)) {
    node.alias = static_cast<std::uint16_t>(node.alias + (may_retire ? 1 : 0));
    return std::nullopt;
  }
  record->kernel_node = kernel_node;
  admitted.record = record.get();
  admitted.mode = record->mode;
  node.records.push_back(std::move(record));
  return admitted;
}

void OpenFiles::drop_mode(Node& node, const OpenRecord& record) {
  if (record.mode == IoMode::direct) {
    return;
  }
  const auto found = node.modes.find(alias_of(record.kernel_node));
  if (found != node.modes.end() && --found->second.opens == 0) {
    if (found->second.mode == IoMode::passthrough) {
      const auto id = static_cast<std::uint32_t>(found->second.backing_id);
      ::ioctl(device_, wire::kIoctlBackingClose, &id);
    }
    node.modes.erase(found);
  }
}

void OpenFiles::close(OpenRecord* record) {
  std::shared_ptr<OpenRecord> last;  // released after the lock
  Shard& shard = shard_of(record->node);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(record->node);
  if (found == shard.nodes.end()) {
    return;
  }
  Node& node = found->second;
  const auto place = std::find_if(node.records.begin(), node.records.end(),
                                  [record](const auto& each) { return each.get() == record; });
  if (place == node.records.end()) {
    return;
  }
  last = std::move(*place);
  node.records.erase(place);
  drop_mode(node, *last);
  if (node.records.empty() && node.alias == 0) {
    shard.nodes.erase(found);
  }
}

KernelNode OpenFiles::current(NodeId node) {
  Shard& shard = shard_of(node);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(node);
  return found == shard.nodes.end() ? node : kernel_node_of(node, found->second.alias);
}

std::shared_ptr<OpenRecord> OpenFiles::any_open(NodeId node) {
  Shard& shard = shard_of(node);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(node);
  return found == shard.nodes.end() || found->second.records.empty() ? nullptr : found->second.records.back();
}

std::shared_ptr<OpenRecord> OpenFiles::unseen_writer(NodeId node) {
  Shard& shard = shard_of(node);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(node);
  if (found == shard.nodes.end()) {
    return nullptr;
  }
  for (const auto& record : found->second.records) {
    if (record->writable && record->mode == IoMode::passthrough) {
      return record;
    }
  }
  return nullptr;
}

void OpenFiles::forgotten(KernelNode node) {
  Shard& shard = shard_of(node_of(node));
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.nodes.find(node_of(node));
  if (found != shard.nodes.end() && found->second.records.empty() && found->second.alias == alias_of(node)) {
    shard.nodes.erase(found);
  }
}

}  // namespace sbench::fuse
