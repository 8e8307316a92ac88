#include "drivers/fuse/server_process.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <system_error>
#include <thread>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/shared_memory.h"

namespace sbench::fuse {

namespace {

constexpr int kUnmountPatience_ms = 2000;
constexpr int kStartPatience_ms = 10'000;

/// What a server needs until it serves: to mount, to move into a root of its own, to open what belongs to others.
constexpr CapabilitySet kStartCapabilities{CAP_SYS_ADMIN, CAP_SYS_CHROOT,      CAP_MKNOD, CAP_DAC_OVERRIDE,
                                           CAP_DAC_READ_SEARCH, CAP_SETPCAP};
/// What programs that serve trees use: the same as our own servers, and more open files.
constexpr CapabilitySet kProgramCapabilities = kTreeServerCapabilities | CapabilitySet{CAP_SYS_RESOURCE};

/// Memory that parent and server share: how many requests were answered.
struct Shared {
  std::atomic<std::uint64_t> answered{0};
};

/// What the server tells its parent once: an errno (0: mounted) and a sentence.
struct Ready {
  int code = 0;
  char what[1020] = {};
};

void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned from = STDERR_FILENO + 1;
  for (const int fd : kept) {
    if (fd > static_cast<int>(from)) {
      ::syscall(SYS_close_range, from, static_cast<unsigned>(fd) - 1, 0U);
    }
    from = std::max(from, static_cast<unsigned>(fd) + 1);
  }
  ::syscall(SYS_close_range, from, ~0U, 0U);
}

/// Files that the parent has mapped shared (SQLite's index of its write-ahead log) would keep their mounts busy as long as
/// the server lives. Anonymous shared memory shows as /dev/zero, and is what parent and server talk through.
void unmap_shared_files() {
  const auto maps = read_text("/proc/self/maps");
  std::istringstream lines(maps.ok() ? *maps : std::string());
  for (std::string line; std::getline(lines, line);) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char access[5] = {};
    const auto path = line.find('/');
    const bool is_shared_file = std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) == 3 && access[3] == 's' &&
                                path != std::string::npos && line.compare(path, 9, "/dev/zero") != 0 &&
                                line.compare(path, 7, "/memfd:") != 0;
    if (is_shared_file) {
      ::munmap(reinterpret_cast<void*>(begin), end - begin);
    }
  }
}

/// A server holds a descriptor for each file its clients have open, and for those they closed until it has heard of that:
/// more than a shell's limit allows. Whoever may not have as many as is usual gets what the hard limit allows.
/// Async-signal-safe.
void allow_many_files() {
  rlimit own{};
  if (::getrlimit(RLIMIT_NOFILE, &own) != 0 || own.rlim_cur >= kOpenFilesUsual) {
    return;
  }
  const rlimit many{kOpenFilesUsual, std::max<rlim_t>(own.rlim_max, kOpenFilesUsual)};
  if (::setrlimit(RLIMIT_NOFILE, &many) != 0) {
    own.rlim_cur = own.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &own);
  }
}

/// Makes a forked copy of sbench a server: a session, signals, descriptors and memory of its own.
void become_server(const std::string& name, const std::vector<int>& kept) {
  constexpr int kSetIoFlusher = 57;  // PR_SET_IO_FLUSHER: reclaiming memory never waits for this process' own files
  ::setsid();
  for (int number = 1; number < SIGRTMIN; ++number) {
    ::signal(number, number == SIGPIPE || number == SIGHUP ? SIG_IGN : SIG_DFL);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  close_all_but(kept);
  allow_many_files();
  unmap_shared_files();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  ::close(null);
  ::umask(0);
  if (::chdir("/") != 0) {
    ::_exit(1);
  }
  ::prctl(PR_SET_NAME, ("sbench-" + name).substr(0, 15).c_str());
  ::prctl(kSetIoFlusher, 1UL, 0UL, 0UL, 0UL);
  ::mallopt(M_ARENA_MAX, 2);
  ::malloc_trim(0);
}

/// Takes the mount down and ends the process when the parent dies. Returns when a byte on `control`
/// says not to, or when the process of `program` (-1: none) ended.
void watch_parent(int parent, int control, const std::string& target, int program, int linger_ms) {
  std::array<pollfd, 3> waits = {pollfd{parent, POLLIN, 0}, pollfd{control, POLLIN, 0}, pollfd{program, POLLIN, 0}};
  while (waits[0].revents == 0 && waits[2].revents == 0) {
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) {
      return;
    }
    char byte = 0;
    if (waits[1].revents != 0 && ::read(control, &byte, 1) == 1) {
      const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
      ::dup2(null, STDERR_FILENO);  // whoever reads the parent's output sees its end
      static_cast<void>(::write(control, &byte, 1));
      return;
    }
    waits[1].fd = waits[1].revents != 0 ? -1 : control;  // closed: its process may still live
  }
  if (waits[0].revents == 0) {
    return;
  }
  ::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  if (program >= 0) {
    ::syscall(SYS_pidfd_send_signal, program, SIGKILL, nullptr, 0U);
  }
  if (linger_ms > 0) {  // serve() returns when the mount's last user goes
    ::poll(nullptr, 0, linger_ms);
  }
  ::_exit(0);
}

/// A process beside `program` that watches the parent for it. It belongs to nobody: init reaps it.
Status fork_guard(const std::string& target, int parent, int control, int program) {
  const pid_t between = ::fork();
  if (between == 0) {
    const pid_t guard = ::fork();
    if (guard == 0) {
      become_server("guard", {parent, control, program});
      keep_only(CapabilitySet{CAP_SYS_ADMIN});  // to unmount
      refuse_new_privileges();
      watch_parent(parent, control, target, program, 0);
    }
    ::_exit(guard < 0 ? 1 : 0);
  }
  int status = -1;
  if (between < 0 || ::waitpid(between, &status, 0) != between || status != 0) {
    return plain_error(EAGAIN, "cannot start a guard for the server of {}", target);
  }
  return {};
}

/// Between fork and exec: only async-signal-safe calls. The program begins with a byte on `go`, which comes when it has its
/// guard; a parent that dies before closes `go`, and then there is no program.
[[noreturn]] void exec_program(const std::string& program, const std::vector<char*>& argv, int error_output, int go,
                               int parents_go) {
  ::close(parents_go);
  char byte = 0;
  ssize_t count = 0;
  while ((count = ::read(go, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (count != 1) {
    ::_exit(127);
  }
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(error_output, STDOUT_FILENO);
  ::dup2(error_output, STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  allow_many_files();
  keep_only(kProgramCapabilities);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

std::string last_line_of(int file) {
  std::array<char, 4096> text{};
  const off_t end = ::lseek(file, 0, SEEK_END);
  const ssize_t bytes = ::pread(file, text.data(), text.size(), std::max<off_t>(0, end - static_cast<off_t>(text.size())));
  std::string_view rest(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  while (!rest.empty() && (rest.back() == '\n' || rest.back() == ' ')) {
    rest.remove_suffix(1);
  }
  return std::string(rest.substr(rest.rfind('\n') + 1));
}

/// Nanoseconds of processor time a process used, 0 when it is gone.
std::uint64_t cpu_ns_of(pid_t pid) {
  clockid_t clock = 0;
  timespec used{};
  const bool known = ::clock_getcpuclockid(pid, &clock) == 0 && ::clock_gettime(clock, &used) == 0;
  return known ? static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(used.tv_nsec) : 0;
}

void tell(int pipe, const Status& status) {
  Ready ready;
  if (!status.ok()) {
    ready.code = status.error().code;
    std::strncpy(ready.what, status.error().what.c_str(), sizeof(ready.what) - 1);
  }
  static_cast<void>(::write(pipe, &ready, sizeof(ready)));
}

/// A mount namespace of the process' own, for now with copies of the parent's mounts; returns the parent's.
Result<Fd> copy_mounts() {
  SBENCH_TRY_SET(Fd parents, open_file("/proc/self/ns/mnt", O_RDONLY));
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("cannot make a mount namespace");
  }
  return parents;
}

/// Shows what is mounted at `target` here in the mount namespace `where` instead.
Status move_mount_to(const Fd& where, const std::filesystem::path& target) {
  constexpr unsigned kClone = 1;      // OPEN_TREE_CLONE
  constexpr unsigned kEmptyPath = 4;  // MOVE_MOUNT_F_EMPTY_PATH
  const Fd tree(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, target.c_str(), kClone | O_CLOEXEC)));
  if (!tree.valid()) {
    return errno_error("cannot take the mount at {} along", target.string());
  }
  Status moved;
  std::thread([&] {  // only this thread goes there
    if (::unshare(CLONE_FS) != 0 || ::setns(where.get(), CLONE_NEWNS) != 0 ||
        ::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, target.c_str(), kEmptyPath) != 0) {
      moved = errno_error("cannot mount on {}", target.string());
    }
  }).join();
  return moved;
}

/// `path` as `own`, in the working directory: the device again, or, where no device nodes can be made, the host's shown there.
bool show_device(const char* path, const char* own) {
  struct stat device {};
  if (::stat(path, &device) != 0) {
    return false;
  }
  if (::mknod(own, S_IFCHR | 0600, device.st_rdev) == 0) {
    return true;
  }
  const Fd empty(::open(own, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  return empty.valid() && ::mount(path, own, nullptr, MS_BIND, nullptr) == 0;
}

/// Leaves nothing of what copy_mounts() copied but a root with the two devices that a server opens.
Status drop_mounts() {
  constexpr const char* kRoot = "/proc";  // any directory; in this namespace nobody else looks at it
  if (::mount("none", kRoot, "tmpfs", 0, "mode=0700,size=64k") != 0 || ::chdir(kRoot) != 0 || ::mkdir("dev", 0700) != 0 ||
      !show_device("/dev/fuse", "dev/fuse") || !show_device("/dev/null", "dev/null") ||
      ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
    return errno_error("cannot give up the mounts of the parent");
  }
  return {};
}

struct Ends {
  int ready = -1;
  int control = -1;
  int parent = -1;
};

[[noreturn]] void run_server(const std::filesystem::path& target, const ServerOptions& options,
                             const ServerProcess::MakeFileSystem& make, const Ends& ends, Shared& shared) {
  auto kept = options.keep_fds;
  kept.insert(kept.end(), {ends.ready, ends.control, ends.parent});
  become_server(options.session.name, kept);
  keep_only(options.capabilities | kStartCapabilities);
  const auto give_up = [&](const Error& why) {
    tell(ends.ready, why);
    ::_exit(1);
  };
  auto parents = options.gives_up_mounts ? copy_mounts() : Result<Fd>(Fd());
  if (!parents.ok()) {
    give_up(parents.error());
  }
  auto files = make();
  // The server of a process that was killed may still be letting go.
  for (int waited_ms = 0; !files.ok() && files.error().code == EBUSY && waited_ms < kStartPatience_ms / 2; waited_ms += 10) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    files = make();
  }
  if (!files.ok()) {
    give_up(files.error());
  }
  auto session = Session::mount(**files, target, options.session);
  if (!session.ok()) {
    give_up(session.error());
  }
  if (options.gives_up_mounts) {
    Status given_up = move_mount_to(*parents, target);
    given_up = given_up.ok() ? drop_mounts() : given_up;
    if (!given_up.ok()) {
      give_up(given_up.error());
    }
    parents->reset();
  }
  std::thread(watch_parent, ends.parent, ends.control, target.string(), -1, options.linger_ms).detach();
  keep_only(options.capabilities);
  refuse_new_privileges();
  tell(ends.ready, {});
  ::close(ends.ready);
  (*session)->serve(&shared.answered);
  std::move(session).value().reset();
  std::move(files).value().reset();  // writes what it still has to
  ::_exit(0);  // nothing of the parent's runs: no exit handlers, no second flush of its buffers
}

Result<std::array<Fd, 2>> make_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return errno_error("cannot make a socket pair");
  }
  return std::array<Fd, 2>{Fd(ends[0]), Fd(ends[1])};
}

Status await_ready(int fd, const Helper& helper, const std::string& name) {
  Ready ready;
  ssize_t bytes = 0;
  do {
    bytes = ::recv(fd, &ready, sizeof(ready), MSG_WAITALL);
  } while (bytes < 0 && errno == EINTR);
  if (bytes != sizeof(ready)) {
    static_cast<void>(helper.wait_end(kStartPatience_ms));
    return plain_error(EIO, "the {} server {} before it was ready", name, helper.failure().value_or("ended"));
  }
  if (ready.code != 0) {
    static_cast<void>(helper.wait_end(kStartPatience_ms));
    return Error{ready.code, ready.what};
  }
  return {};
}

/// A connection that is cut while the server takes a request from it (that a file was closed, which nobody waits for)
/// tells it "connection abort", not "unmounted": a program such as fuse-overlayfs ends with exit code 1 then, though all
/// is well. So what is on its way comes first; a server that hangs is not waited for.
void let_requests_end(const std::optional<Connection>& connection) {
  constexpr int kPatience_ms = 1000;
  for (int waited_ms = 0; connection && connection->waiting_requests().value_or(0) > 0 && waited_ms < kPatience_ms; ++waited_ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

/// umount(2) itself may wait for the server: it runs beside a clock, which ends the connection.
Status unmount_beside_clock(const std::filesystem::path& target, const std::optional<Connection>& connection,
                            int end_limit_ms) {
  Status unmounted;
  std::atomic<bool> done{false};
  std::thread unmounter;
  try {
    unmounter = std::thread([&] {
      unmounted = unmount(target, kUnmountPatience_ms);
      done = true;
    });
  } catch (const std::system_error&) {  // no memory for a thread; the watchdog's, which runs, ends a connection as well
    return unmount(target, kUnmountPatience_ms);
  }
  for (int waited_ms = 0; !done; ++waited_ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (waited_ms == kUnmountPatience_ms + end_limit_ms && connection) {
      static_cast<void>(connection->abort());
    }
  }
  unmounter.join();
  return unmounted;
}

}  // namespace

Status take_down(const std::filesystem::path& target, const Helper& server, int end_limit_ms) {
  const auto connection = Connection::find(target);
  Status unmounted;
  if (is_mount_point(target) || connection) {
    let_requests_end(connection);
    unmounted = unmount_beside_clock(target, connection, end_limit_ms);
  }
  if (!unmounted.ok()) {
    return unmounted;
  }
  if (!server.wait_end(end_limit_ms)) {
    server.kill();  // which ends its connection, if a user of a detached mount still holds it
    return plain_error(EIO, "the server of {} did not end and was killed", target.string());
  }
  return {};
}

Result<std::unique_ptr<ServerProcess>> ServerProcess::start(const std::filesystem::path& target,
                                                            const ServerOptions& options,
                                                            const MakeFileSystem& make) {
  const auto absolute = std::filesystem::absolute(target);
  const std::string& name = options.session.name;
  SBENCH_TRY_SET(auto ready, make_pair());
  SBENCH_TRY_SET(auto control, make_pair());
  const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0U)));
  if (!self.valid()) {
    return errno_error("cannot make a descriptor of this process");
  }
  const auto shared = make_shared_memory<Shared>();
  const pid_t child = ::fork();
  if (child < 0) {
    return errno_error("cannot start the {} server", name);
  }
  if (child == 0) {
    run_server(absolute, options, make, {ready[1].get(), control[1].get(), self.get()}, *shared);
  }
  ready[1].reset();
  control[1].reset();
  SBENCH_TRY_SET(Helper helper, Helper::of_child(child, name + " server"));
  SBENCH_TRY(await_ready(ready[0].get(), helper, name));
  std::unique_ptr<ServerProcess> server(new ServerProcess(absolute, std::move(helper)));
  server->control_ = std::move(control[0]);
  server->watch(options, [shared] { return shared->answered.load(std::memory_order_relaxed); });
  return server;
}

Result<std::unique_ptr<ServerProcess>> ServerProcess::start_program(const std::filesystem::path& target,
                                                                    const ServerOptions& options,
                                                                    const std::vector<std::string>& command) {
  const auto absolute = std::filesystem::absolute(target);
  const std::string program = find_program(command.at(0));
  if (program.empty()) {
    return plain_error(ENOENT, "cannot run {}: no such program in PATH; install it", command[0]);
  }
  const std::vector<char*> argv = argv_of(command);
  Fd output(::memfd_create("output", MFD_CLOEXEC));
  const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0U)));
  SBENCH_TRY_SET(auto control, make_pair());
  SBENCH_TRY_SET(auto go, make_pair());
  const pid_t child = ::fork();
  if (child < 0) {
    return errno_error("cannot start {}", command[0]);
  }
  if (child == 0) {
    exec_program(program, argv, output.get(), go[1].get(), go[0].get());
  }
  SBENCH_TRY_SET(Helper helper, Helper::of_child(child, options.session.name + " server"));
  const Fd program_fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0U)));
  SBENCH_TRY(fork_guard(absolute, self.get(), control[1].get(), program_fd.get()));
  if (::send(go[0].get(), "", 1, MSG_NOSIGNAL) != 1) {
    return errno_error("cannot start {}", command[0]);
  }
  std::unique_ptr<ServerProcess> server(new ServerProcess(absolute, std::move(helper)));
  server->control_ = std::move(control[0]);
  server->output_ = std::move(output);
  for (int waited_ms = 0; !Connection::find(absolute); ++waited_ms) {
    if (!server->alive() || waited_ms == kStartPatience_ms) {
      server->helper_.kill();
      server->stopped_ = true;
      return plain_error(EIO, "{} does not serve {}: {}", command[0], absolute.string(), last_line_of(server->output_.get()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  server->watch(options, [child] { return cpu_ns_of(child); });
  return server;
}

void ServerProcess::watch(const ServerOptions& options, std::function<std::uint64_t()> progress) {
  if (auto connection = Connection::find(target_)) {
    watch_ = std::make_unique<Watch>(std::move(*connection), options.session.name, options.stall_limit_ms, std::move(progress));
  }
}

Result<std::unique_ptr<ServerProcess>> ServerProcess::adopt(const std::filesystem::path& target,
                                                            const std::filesystem::path& record) {
  SBENCH_TRY_SET(const std::string text, read_text(record));
  std::istringstream fields(text);
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::string name;
  fields >> pid >> start_ticks >> name;
  SBENCH_TRY_SET(Helper helper, Helper::adopt(pid, start_ticks, name + " server"));
  std::unique_ptr<ServerProcess> server(new ServerProcess(std::filesystem::absolute(target), std::move(helper)));
  server->stays_ = true;
  return server;
}

ServerProcess::~ServerProcess() {
  watch_.reset();
  if (!stays_ && !stopped_ && !stop().ok()) {
    ::umount2(target_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);  // busy: it goes with its last user
    helper_.leave();
  }
}

Status ServerProcess::stop() {
  const bool was_alive = helper_.alive();
  const bool cut_off = watch_ != nullptr && watch_->fired();
  constexpr int kEndLimit_ms = 30'000;  // the file system may have much to write
  constexpr int kEndLimitCutOff_ms = 500;
  Status taken = take_down(target_, helper_, cut_off ? kEndLimitCutOff_ms : kEndLimit_ms);
  if (!taken.ok() && taken.error().code == EBUSY) {
    return taken;
  }
  watch_.reset();
  stopped_ = true;
  if (cut_off) {
    return plain_error(EIO, "the server of {} no longer answered and was cut off", target_.string());
  }
  const auto failure = helper_.failure();
  if (!was_alive || failure) {
    const std::string said = output_.valid() ? last_line_of(output_.get()) : "";
    return plain_error(EIO, "the server of {} {}{}{}", target_.string(), failure.value_or("had ended too early"),
                       said.empty() ? "" : "; it said: ", said);
  }
  return taken;
}

Status ServerProcess::leave(const std::filesystem::path& record) {
  const auto name = find_mount(target_).value_or(MountedFileSystem{}).source;
  SBENCH_TRY(write_text_atomic(record, fmt::format("{} {} {}\n", pid(), start_ticks_of(pid()), name)));
  char byte = 1;
  if (::send(control_.get(), &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(control_.get(), &byte, 1, MSG_WAITALL) != 1) {
    return plain_error(EIO, "the server of {} does not answer", target_.string());
  }
  stays_ = true;
  helper_.leave();
  watch_.reset();
  return {};
}

}  // namespace sbench::fuse
