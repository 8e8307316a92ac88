#include "harness/session.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/helper.h"
#include "drivers/base/process.h"
#include "harness/journal.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr int kOwnServerPatience_ms = 25'000;  ///< longer than any of them lingers

/// In the session's private tmpfs, so it goes with the session: "PID START NAMESPACE".
fs::path owner_file() { return runtime_directory() / "roots/.owner"; }

struct Inhabitant {
  Helper process;
  std::string name;
};

/// Processes in sessions whose own process is dead.
std::vector<Inhabitant> inhabitants_of_abandoned_sessions() {
  std::vector<Inhabitant> found;
  for (const pid_t inhabitant : all_processes()) {
    const fs::path process = fmt::format("/proc/{}", inhabitant);
    const std::uint64_t since = start_ticks_of(inhabitant);  // read first: adopting tells another of its number by it
    const std::string owner = read_trimmed(process / "root" / owner_file().relative_path());
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    std::string where;
    if ((std::istringstream(owner) >> pid >> start_ticks >> where) && where == namespace_of("self", "pid") &&
        start_ticks_of(pid) != start_ticks) {
      std::string name = read_trimmed(process / "comm");
      if (auto alive = Helper::adopt(inhabitant, since, name); alive.ok()) {
        found.push_back({std::move(*alive), std::move(name)});
      }
    }
  }
  return found;
}

}  // namespace

Result<std::vector<std::string>> end_abandoned_sessions() {
  std::vector<std::string> ended;
  for (const auto& [process, name] : inhabitants_of_abandoned_sessions()) {
    const bool own = name.starts_with("sbench");
    if (!process.wait_end(own ? kOwnServerPatience_ms : 0)) {
      process.kill();
      if (process.alive()) {
        return plain_error(EBUSY, "{} (process {}) of a killed run does not end", name, process.pid());
      }
      ended.push_back(fmt::format("{} (process {}) of a killed run", name, process.pid()));
    }
  }
  return ended;
}

std::filesystem::path runtime_directory() { return "/run/sbench"; }

Result<std::unique_ptr<Session>> Session::enter(std::filesystem::path roots) {
  roots = roots.empty() ? runtime_directory() / "roots" : roots;
  SBENCH_TRY(make_directories(roots));
  if (::unshare(CLONE_NEWNS) != 0) {
    return errno_error("cannot make a mount namespace");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("cannot make the mount namespace private");
  }
  for (const auto& store : journal_entries()) {  // copies of kept stores' mounts would hold their devices
    static_cast<void>(unmount_below(store / "root"));
  }
  if (::mount("sbench", roots.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) {
    return errno_error("cannot mount a tmpfs at {}", roots.string());
  }
  if (roots == runtime_directory() / "roots") {
    SBENCH_TRY(write_text_atomic(owner_file(), fmt::format("{} {} {}\n", ::getpid(), start_ticks_of(::getpid()),
                                                           namespace_of("self", "pid"))));
  }
  return std::unique_ptr<Session>(new Session(std::move(roots)));
}

Session::~Session() { ::umount2(roots_.c_str(), MNT_DETACH); }

Result<std::filesystem::path> Session::make_root(const std::string& name) {
  auto root = roots_ / name;
  SBENCH_TRY(make_directories(root));
  return root;
}

}  // namespace sbench
