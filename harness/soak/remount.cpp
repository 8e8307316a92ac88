#include "harness/soak/remount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <sstream>
#include <thread>
#include <vector>

#include "drivers/base/file.h"
#include "harness/session.h"

namespace sbench::soak {
namespace {

struct Target {
  std::string path;
  bool without_times = false;  ///< noatime: a remount says all flags anew
};

/// What is mounted below a session's roots, the roots themselves left out.
std::vector<Target> targets_of(pid_t pid) {
  const std::string below = (runtime_directory() / "roots").string() + "/";
  std::vector<Target> found;
  const auto text = read_text(fmt::format("/proc/{}/mountinfo", pid));
  std::istringstream lines(text.ok() ? *text : "");
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string path;
    std::string options;
    fields >> skipped >> skipped >> skipped >> skipped >> path >> options;
    if (path.starts_with(below) && path.find('\\') == std::string::npos) {
      found.push_back({path, options.find("noatime") != std::string::npos});
    }
  }
  return found;
}

bool remount(pid_t pid, const Target& target, unsigned long flags) {
  const auto mounts = open_file(fmt::format("/proc/{}/ns/mnt", pid), O_RDONLY);
  if (!mounts.ok()) {
    return false;
  }
  bool done = false;
  std::thread([&] {  // only this thread goes there
    done = ::unshare(CLONE_FS) == 0 && ::setns(mounts->get(), CLONE_NEWNS) == 0 &&
           ::mount(nullptr, target.path.c_str(), nullptr, MS_REMOUNT | (target.without_times ? MS_NOATIME : 0) | flags,
                   nullptr) == 0;
  }).join();
  return done;
}

}  // namespace

std::optional<std::string> remount_one(pid_t pid, std::uint64_t choice) {
  const auto targets = targets_of(pid);
  if (targets.empty()) {
    return std::nullopt;
  }
  const Target& target = targets[choice % targets.size()];
  return remount(pid, target, MS_RDONLY) ? std::optional(target.path) : std::nullopt;
}

void remount_writable(pid_t pid, const std::string& target) { remount(pid, {target, true}, 0); }

}  // namespace sbench::soak
