// reply.h: answers to the kernel: values into wire structures, Errors into errnos (here and nowhere else).
#pragma once

#include "drivers/fuse/session_state.h"

namespace sbench::fuse {

/// The one way from an Error to the kernel.
void reply_error(fuse_req_t request, const Error& error);
/// Success without a value, or the error.
void reply_status(fuse_req_t request, const Status& status);
/// Sends a structure as it is; false when the kernel no longer waits for it.
template <typename Body>
bool reply_body(fuse_req_t request, const Body& body) {
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&body), sizeof(body)) == 0;
}

[[nodiscard]] fuse_attr to_wire(const struct stat& attributes);

/// Seconds that attributes of `node` may be cached: 0 for an old alias, or while a file is written unseen.
[[nodiscard]] double attribute_cache_s(Session::State& state, KernelNode node);
/// Counts the kernel's reference and fills in the answer; unseen writes are made known first.
[[nodiscard]] fuse_entry_out take_entry(Session::State& state, KernelNode parent, std::string_view name, Entry entry);
/// Undoes take_entry: the kernel never saw the answer.
void drop_entry(Session::State& state, KernelNode node);

void reply_entry(fuse_req_t request, KernelNode parent, const char* name, const Result<Entry>& entry);
void reply_attributes(fuse_req_t request, KernelNode node, const Result<struct stat>& attributes);

[[nodiscard]] inline Session::State& state_of(fuse_req_t request) {
  return *static_cast<Session::State*>(fuse_req_userdata(request));
}

}  // namespace sbench::fuse
