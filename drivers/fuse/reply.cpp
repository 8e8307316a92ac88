#include "drivers/fuse/reply.h"

#include <sys/sysmacros.h>

#include <cmath>

namespace sbench::fuse {

namespace {

/// The kernel's encoding of device numbers on the wire.
std::uint32_t encode_device(dev_t device) {
  const unsigned minor_number = minor(device);
  return (minor_number & 0xffU) | (major(device) << 8U) | ((minor_number & ~0xffU) << 12U);
}

void set_timeout(double seconds, std::uint64_t& whole, std::uint32_t& nanoseconds) {
  double integral = 0;
  nanoseconds = static_cast<std::uint32_t>(std::modf(seconds, &integral) * 1e9);
  whole = static_cast<std::uint64_t>(integral);
}

}  // namespace

void reply_error(fuse_req_t request, const Error& error) { fuse_reply_err(request, error.code); }

void reply_status(fuse_req_t request, const Status& status) {
  fuse_reply_err(request, status.ok() ? 0 : status.error().code);
}

fuse_attr to_wire(const struct stat& attributes) {
  fuse_attr wire{};
  wire.ino = attributes.st_ino;
  wire.size = static_cast<std::uint64_t>(attributes.st_size);
  wire.blocks = static_cast<std::uint64_t>(attributes.st_blocks);
  wire.atime = static_cast<std::uint64_t>(attributes.st_atim.tv_sec);
  wire.mtime = static_cast<std::uint64_t>(attributes.st_mtim.tv_sec);
  wire.ctime = static_cast<std::uint64_t>(attributes.st_ctim.tv_sec);
  wire.atimensec = static_cast<std::uint32_t>(attributes.st_atim.tv_nsec);
  wire.mtimensec = static_cast<std::uint32_t>(attributes.st_mtim.tv_nsec);
  wire.ctimensec = static_cast<std::uint32_t>(attributes.st_ctim.tv_nsec);
  wire.mode = attributes.st_mode;
  wire.nlink = static_cast<std::uint32_t>(attributes.st_nlink);
  wire.uid = attributes.st_uid;
  wire.gid = attributes.st_gid;
  wire.rdev = encode_device(attributes.st_rdev);
  wire.blksize = static_cast<std::uint32_t>(attributes.st_blksize);
  return wire;
}

double attribute_cache_s(Session::State& state, KernelNode node) {
  const NodeId id = node_of(node);
  const bool stays = state.open_files->current(id) == node && state.open_files->unseen_writer(id) == nullptr;
  return stays ? state.options.cache_s : 0;
}

fuse_entry_out take_entry(Session::State& state, KernelNode parent, std::string_view name, Entry entry) {
  SBENCH_CHECK(entry.node == node_of(entry.node));  // NodeIds have 48 bits (open_files.h)
  if (const auto writer = state.open_files->unseen_writer(entry.node)) {
    state.files.written(entry.node, writer->file.handle);
    if (auto fresh = state.files.attributes(entry.node, writer->file.handle); fresh.ok()) {
      entry.attributes = *fresh;
    }
  }
  fuse_entry_out out{};
  out.nodeid = state.open_files->current(entry.node);
  out.generation = entry.generation;
  out.attr = to_wire(entry.attributes);
  set_timeout(state.options.cache_s, out.entry_valid, out.entry_valid_nsec);
  set_timeout(attribute_cache_s(state, out.nodeid), out.attr_valid, out.attr_valid_nsec);
  if (entry.node != kRootNode) {
    state.known->add(out.nodeid, parent, S_ISDIR(entry.attributes.st_mode) ? std::string_view() : name);
  }
  return out;
}

void drop_entry(Session::State& state, KernelNode node) {
  if (node_of(node) == kRootNode) {
    return;
  }
  if (state.known->forget(node, 1)) {
    state.open_files->forgotten(node);
  }
  state.files.forget(node_of(node), 1);
}

void reply_entry(fuse_req_t request, KernelNode parent, const char* name, const Result<Entry>& entry) {
  Session::State& state = state_of(request);
  if (!entry.ok()) {
    reply_error(request, entry.error());
    return;
  }
  const fuse_entry_out out = take_entry(state, parent, name, *entry);
  if (!reply_body(request, out)) {
    drop_entry(state, out.nodeid);
  }
}

void reply_attributes(fuse_req_t request, KernelNode node, const Result<struct stat>& attributes) {
  if (!attributes.ok()) {
    reply_error(request, attributes.error());
    return;
  }
  fuse_attr_out out{};
  out.attr = to_wire(*attributes);
  set_timeout(attribute_cache_s(state_of(request), node), out.attr_valid, out.attr_valid_nsec);
  reply_body(request, out);
}

}  // namespace sbench::fuse
