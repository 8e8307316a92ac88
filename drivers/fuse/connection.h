// connection.h: the kernel's side of one FUSE mount, as fusectl shows it.
//
// A connection has a number, the minor one of its mount's device, read from mountinfo:
// nothing here asks the file system itself, which may hang. Numbers are given anew at once:
// when a mount is gone, its number may be another's, of another program. So what ends a
// connection is opened while its mount is there; when that is gone, it does nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench::fuse {

class Connection {
 public:
  /// The connection mounted at `target` (topmost); nothing when no FUSE file system is.
  [[nodiscard]] static std::optional<Connection> find(const std::filesystem::path& target);

  /// Requests that wait for the server or are in its hands; nothing when the connection is gone (or another's number,
  /// when it is gone and its own was given anew).
  [[nodiscard]] std::optional<std::uint64_t> waiting_requests() const;

  /// Every request, waiting or to come, fails with ECONNABORTED or ENOTCONN. Gone already: fine.
  [[nodiscard]] Status abort() const;

 private:
  std::uint32_t number_ = 0;
  Fd abort_;  ///< invalid where the control files cannot be reached
};

}  // namespace sbench::fuse
