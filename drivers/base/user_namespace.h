// user_namespace.h: what an ordinary user may do all the same: be root of a user namespace of his own.
//
// Inside, the process has every capability, but only over what belongs to the namespace: it may
// mount overlayfs, tmpfs, FUSE and bind mounts, and has no block device, no device nodes and no
// trusted.* attributes. Files may have as many owners as ids are mapped: the user himself, as
// root, and those of his ranges in /etc/subuid and /etc/subgid (user_namespaces(7), subuid(5)).
#pragma once

#include <string>

#include "drivers/base/result.h"

namespace sbench {

/// Whether this process is in a user namespace other than the machine's first.
[[nodiscard]] bool in_user_namespace();

/// Whether files may belong to others than root here: users and groups of images are below 65536.
/// True outside of user namespaces.
[[nodiscard]] bool may_give_files_away();

/// Makes the calling process, which must have one thread, root of a new user namespace. The ranges of
/// /etc/subuid and /etc/subgid are mapped by newuidmap(1) and newgidmap(1); without them, or without
/// those programs, the caller's own ids alone. EPERM or ENOSPC, with what forbids it and what
/// would allow it, where the machine has no user namespaces for ordinary users.
[[nodiscard]] Status enter_user_namespace();

/// Why ordinary users have no user namespaces here, and what would help, in two sentences; `code` is unshare(2)'s errno.
struct Obstacle {
  std::string reason;
  std::string remedy;
};
[[nodiscard]] Obstacle user_namespace_obstacle(int code);

}  // namespace sbench
