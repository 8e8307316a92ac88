// remount.h: a file system of a case, remounted read-only in the middle of its work, as an administrator does it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace sbench::soak {

/// Remounts one of the file systems that a driver has mounted in the session of the process `pid`, the `choice`th in a
/// circle; returns where. Nothing when there is none, or when the kernel refuses because a file is open for writing: try
/// again. The session's mounts are not held: they go with its processes.
[[nodiscard]] std::optional<std::string> remount_one(pid_t pid, std::uint64_t choice);
/// Back, if it is still mounted.
void remount_writable(pid_t pid, const std::string& target);

}  // namespace sbench::soak
