// connection.h: the kernel's side of one FUSE mount, as fusectl shows it.
//
// A connection is known by the minor number of its mount's device, read from
// mountinfo: nothing here asks the file system itself, which may hang.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "drivers/base/result.h"

namespace sbench::fuse {

using ConnectionNumber = std::uint32_t;

/// The connection mounted at `target` (topmost); nothing when no FUSE file system is.
[[nodiscard]] std::optional<ConnectionNumber> find_connection(const std::filesystem::path& target);

/// Requests that wait for the server or are in its hands; nothing when the connection is gone.
[[nodiscard]] std::optional<std::uint64_t> waiting_requests(ConnectionNumber number);

/// Every request, waiting or to come, fails with ECONNABORTED or ENOTCONN. Gone already: fine.
[[nodiscard]] Status abort_connection(ConnectionNumber number);

}  // namespace sbench::fuse
