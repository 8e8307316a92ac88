#include "drivers/zfs/fuse_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/zfs/tool_pool.h"

namespace sbench::zfs {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPlace = "/run/zfs";
constexpr const char* kSocket = "/run/zfs/zfs_socket";
constexpr int kStartPatience_ms = 20'000;
constexpr int kStopPatience_ms = 20'000;
constexpr int kStep_ms = 10;
constexpr int kWatchPeriod_ms = 500;
constexpr int kToolPatience_ms = 30'000;
constexpr int kMountPatience_ms = 60'000;

bool running = false;

/// Whether this is the machine's first mount namespace; where that cannot be seen (sandboxes), it is taken for another.
bool in_first_namespace() {
  const std::string first = namespace_of("1", "mnt");
  return !first.empty() && namespace_of("self", "mnt") == first;
}

/// Calls of read(2) so far: each request is one, and one that waits for its device takes none.
std::uint64_t reads_of(pid_t pid) {
  const std::string text = read_trimmed(fmt::format("/proc/{}/io", pid));
  const auto at = text.find("syscr: ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 7, nullptr, 10);
}

bool answers() {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, kSocket, sizeof address.sun_path - 1);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

[[noreturn]] void exec_daemon(const std::string& program, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(127);
  }
  const int null = ::open("/dev/null", O_RDWR);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(null, stream);
  }
  ::close_range(STDERR_FILENO + 1, ~0U, 0);
  // Extended attributes are off by default; a container's tree needs them.
  ::execl(program.c_str(), program.c_str(), "--no-daemon", "--no-kstat-mount", "--enable-xattr", "--pidfile", "/run/zfs/pid", nullptr);
  ::_exit(127);
}

}  // namespace

Result<std::shared_ptr<FuseDaemon>> FuseDaemon::start() {
  if (running) {
    return plain_error(EBUSY, "a store of zfs-fuse is open already: its programs reach one daemon only");
  }
  if (in_first_namespace()) {
    return plain_error(ENOTSUP, "zfs-fuse mounts where its daemon runs: sbench uses it in runs, not for stores that stay");
  }
  const std::string program = find_program("zfs-fuse");
  SBENCH_TRY(make_directories(kPlace));
  if (::mount("sbench", kPlace, "tmpfs", MS_NOSUID, "mode=0700") != 0) {
    return errno_error("cannot mount a tmpfs on {}", kPlace);
  }
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    exec_daemon(program, parent);
  }
  if (child < 0) {
    Error error = errno_error("cannot start zfs-fuse");
    ::umount2(kPlace, MNT_DETACH);
    return error;
  }
  SBENCH_TRY_SET(Helper helper, Helper::of_child(child, "zfs-fuse"));
  running = true;
  std::shared_ptr<FuseDaemon> daemon(new FuseDaemon(std::move(helper)));
  for (int waited_ms = 0; !answers(); waited_ms += kStep_ms) {
    if (!daemon->alive() || waited_ms >= kStartPatience_ms) {
      return plain_error(EIO, "zfs-fuse did not come up");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kStep_ms));
  }
  return daemon;
}

FuseDaemon::FuseDaemon(Helper helper) : helper_(std::move(helper)), watcher_([this] { watch_tools(); }) {}

void FuseDaemon::watch_tools() {
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, std::chrono::milliseconds(kWatchPeriod_ms), [this] { return ending_; })) {
    if (tool_runs_since_ms() > kToolPatience_ms) {
      helper_.kill();  // its program sees the end of their socket
    }
  }
}

std::unique_ptr<fuse::Watch> FuseDaemon::watch(const fs::path& target) const {
  auto connection = fuse::Connection::find(target);
  if (!connection) {
    return nullptr;
  }
  return std::make_unique<fuse::Watch>(std::move(*connection), "zfs-fuse", kMountPatience_ms,
                                       [pid = helper_.pid()] { return reads_of(pid); });
}

FuseDaemon::~FuseDaemon() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ends_.notify_all();
  watcher_.join();
  running = false;
  if (helper_.alive()) {
    helper_.leave();  // it ends with exit code 1 when it is told to end: no failure
    ::kill(helper_.pid(), SIGTERM);
    for (int waited_ms = 0; ::waitpid(helper_.pid(), nullptr, WNOHANG) == 0; waited_ms += kStep_ms) {
      if (waited_ms == kStopPatience_ms) {
        ::kill(helper_.pid(), SIGKILL);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(kStep_ms));
    }
  }
  ::umount2(kPlace, MNT_DETACH);
}

Result<std::string> FuseDaemon::directory_of(const std::string& device) const {
  const fs::path directory = fs::path(kPlace) / "device";
  SBENCH_TRY(make_directories(directory));
  const fs::path link = directory / "disk";
  if (::symlink(device.c_str(), link.c_str()) != 0) {
    return errno_error("cannot make {}", link.string());
  }
  return directory.string();
}

}  // namespace sbench::zfs
