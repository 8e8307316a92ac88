// session.h: the private place a run works in, so that a SIGKILL at any moment leaves nothing.
//
// Entering moves this process into a mount namespace of its own and covers
// /run/sbench there with a private tmpfs. All mounts, and the auto-clearing loop
// devices below them, go away with the last process inside: this one, and
// children that die with it. What the kernel would keep all the same stands in
// the journal (journal.h).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

class Session {
 public:
  /// Call once, from the main thread, before other threads exist. EPERM without CAP_SYS_ADMIN. `roots`: a folder to
  /// cover with the tmpfs instead, for an ordinary user, who has none below /run.
  [[nodiscard]] static Result<std::unique_ptr<Session>> enter(std::filesystem::path roots = {});
  ~Session();

  /// An empty directory of the private tmpfs for a driver's mounts.
  [[nodiscard]] Result<std::filesystem::path> make_root(const std::string& name);

 private:
  explicit Session(std::filesystem::path roots) : roots_(std::move(roots)) {}
  std::filesystem::path roots_;
};

/// Ends what is still in a session whose process is dead: guards and servers see that themselves, unless they were killed
/// as well. Our own servers, which may have a store to close, get the time for it. Returns what was ended, by name; EBUSY
/// names what does not end. Sessions of other process namespaces are left alone.
[[nodiscard]] Result<std::vector<std::string>> end_abandoned_sessions();

/// /run/sbench: mount roots of sessions, and the journal.
[[nodiscard]] std::filesystem::path runtime_directory();

}  // namespace sbench
