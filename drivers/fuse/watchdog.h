// watchdog.h: ends FUSE connections whose server no longer answers.
//
// A client of a hung server cannot be killed; only an abort of the connection
// frees it. One thread looks at every watched connection once a second: when
// requests wait and `progress` has not moved for the limit, it aborts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "drivers/fuse/connection.h"

namespace sbench::fuse {

/// Watches from its construction to its destruction.
class Watch {
 public:
  /// `progress` changes whenever the server does something; called from the watchdog's thread.
  Watch(ConnectionNumber connection, std::string name, int limit_ms, std::function<std::uint64_t()> progress);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Whether the watchdog cut the connection off.
  [[nodiscard]] bool fired() const;

  struct Watched;

 private:
  std::shared_ptr<Watched> watched_;
};

/// While the lock is held the watchdog's thread sleeps, holding no lock of any library's: for a fork that goes on
/// without exec. (The C library frees its own allocator's locks in the child; a sanitizer's does not.)
[[nodiscard]] std::unique_lock<std::mutex> pause_watchdog();

}  // namespace sbench::fuse
