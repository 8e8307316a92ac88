// watchdog.h: ends FUSE connections whose server no longer answers.
//
// A client of a hung server cannot be killed; only an abort of the connection
// frees it. One thread looks at every watched connection twice a second: when
// requests wait and `progress` has not moved for the limit, it aborts. It sleeps
// while this process forks; a forked child begins with nothing watched.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "drivers/fuse/connection.h"

namespace sbench::fuse {

/// Watches from its construction to its destruction.
class Watch {
 public:
  /// `progress` changes whenever the server does something; called from the watchdog's thread.
  Watch(Connection connection, std::string name, int limit_ms, std::function<std::uint64_t()> progress);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Whether the watchdog cut the connection off.
  [[nodiscard]] bool fired() const;

  struct Watched;

 private:
  std::shared_ptr<Watched> watched_;
};

}  // namespace sbench::fuse
