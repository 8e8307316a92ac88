// directory_reply.h: a batch of directory entries in the kernel's format, with or without attributes.
#pragma once

#include "drivers/fuse/session_state.h"

namespace sbench::fuse {

/// Answers READDIR (`plus`: READDIRPLUS, which looks every entry up) with at most `size` bytes.
void reply_directory(fuse_req_t request, KernelNode node, HandleId handle, std::size_t size, std::uint64_t cookie,
                     bool plus);

}  // namespace sbench::fuse
