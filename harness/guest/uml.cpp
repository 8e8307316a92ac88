#include "harness/guest/uml.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/guest/guard_process.h"
#include "harness/guest/guest_disk.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kProgram = "linux.uml";
constexpr const char* kModules = "/usr/lib/uml/modules";
constexpr auto kPoll = std::chrono::milliseconds(50);

volatile std::sig_atomic_t signals_seen = 0;
volatile std::sig_atomic_t last_signal = 0;

/// Counts SIGINT and SIGTERM while a guest runs.
class WatchSignals {
 public:
  WatchSignals() {
    signals_seen = 0;
    struct sigaction action {};
    action.sa_handler = [](int number) {
      last_signal = number;
      signals_seen = signals_seen + 1;
    };
    ::sigaction(SIGINT, &action, &before_int_);
    ::sigaction(SIGTERM, &action, &before_term_);
  }
  ~WatchSignals() {
    ::sigaction(SIGINT, &before_int_, nullptr);
    ::sigaction(SIGTERM, &before_term_, nullptr);
  }
  WatchSignals(const WatchSignals&) = delete;
  WatchSignals& operator=(const WatchSignals&) = delete;

 private:
  struct sigaction before_int_ {};
  struct sigaction before_term_ {};
};

/// Hands on what is new in a file another writes.
class Tail {
 public:
  Tail(const fs::path& file, std::function<void(std::string_view)> sink)
      : fd_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)), sink_(std::move(sink)) {}
  void relay() {
    char buffer[65536];
    for (ssize_t count = 0; (count = ::read(fd_.get(), buffer, sizeof buffer)) > 0;) {
      if (sink_) {
        sink_({buffer, static_cast<std::size_t>(count)});
      }
    }
  }

 private:
  Fd fd_;
  std::function<void(std::string_view)> sink_;
};

/// The guest's memory is a file the kernel maps: in /dev/shm where that has room, else on a disk.
std::string memory_directory(std::uint64_t bytes, const fs::path& otherwise) {
  struct statvfs room {};
  const bool fits = ::statvfs("/dev/shm", &room) == 0 && room.f_bavail * room.f_frsize >= bytes &&
                    (room.f_flag & ST_NOEXEC) == 0 && ::access("/dev/shm", W_OK) == 0;
  return fits ? "/dev/shm" : otherwise.string();
}

std::vector<std::string> command_line(const GuestJob& job, const fs::path& exchange) {
  std::vector<std::string> words = {find_program(kProgram), fmt::format("mem={}M", job.memory_bytes / kMiB),
                                    "root=/dev/root",       "rootfstype=hostfs",
                                    "ro",                   "quiet",
                                    "con=null",             "con0=null,fd:1",
                                    "init=" + (exchange / "init").string()};
  for (std::size_t i = 0; i < job.disks.size(); ++i) {
    words.push_back(fmt::format("ubd{}={}", i, job.disks[i]));
  }
  words.insert(words.end(), {"--", exchange.string()});
  return words;
}

/// Only what a fork of a process with one thread may do.
[[noreturn]] void exec_kernel(const std::vector<std::string>& words, const fs::path& exchange,
                              const std::string& memory, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(127);
  }
  const int null = ::open("/dev/null", O_RDONLY);
  const int console = ::open((exchange / "console").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(null, STDIN_FILENO);
  ::dup2(console, STDOUT_FILENO);
  ::dup2(console, STDERR_FILENO);
  ::setenv("HOME", (exchange / "home").c_str(), 1);  // it makes ~/.uml
  ::setenv("TMPDIR", memory.c_str(), 1);
  const std::vector<char*> argv = argv_of(words);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

std::string last_console_lines(const fs::path& exchange) {
  constexpr std::size_t kLines = 5;
  std::istringstream text(read_trimmed(exchange / "console"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    std::erase(line, '\r');
    if (!line.empty()) {
      lines.push_back(line);
    }
  }
  const std::size_t first = lines.size() > kLines ? lines.size() - kLines : 0;
  return fmt::format("{}", fmt::join(lines.begin() + static_cast<std::ptrdiff_t>(first), lines.end(), " | "));
}

/// One guest from boot to its end.
class Guest {
 public:
  Guest(const GuestJob& job, const GuestOutput& output, fs::path exchange)
      : job_(job),
        exchange_(std::move(exchange)),
        out_(exchange_ / "stdout", output.out),
        err_(exchange_ / "stderr", output.err) {}

  Result<int> run() {
    SBENCH_TRY_SET(auto guard, GuardProcess::start(exchange_));
    const auto words = command_line(job_, exchange_);
    const std::string memory = memory_directory(job_.memory_bytes, exchange_);
    const pid_t parent = ::getpid();
    const pid_t kernel = ::fork();
    if (kernel < 0) {
      return errno_error("cannot start {}", kProgram);
    }
    if (kernel == 0) {
      exec_kernel(words, exchange_, memory, parent);
    }
    ::setpgid(kernel, kernel);
    guard->watch(kernel);
    const Status watched = watch(kernel);
    ::kill(-kernel, SIGKILL);  // processes of the guest's processes, whatever their state
    if (!gone_) {
      ::waitpid(kernel, nullptr, 0);
    }
    relay();
    return watched.ok() ? exit_code() : Result<int>(watched.error());
  }

 private:
  void relay() {
    out_.relay();
    err_.relay();
  }

  Status check_limits(Clock::time_point start) {
    const auto passed = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - start).count();
    booted_ = booted_ || ::access((exchange_ / "started").c_str(), F_OK) == 0;
    if (!booted_ && static_cast<std::uint64_t>(passed) > job_.boot_limit_s) {
      return plain_error(ETIME, "user-mode Linux did not come up in {} s; its console says: {}", job_.boot_limit_s,
                         last_console_lines(exchange_));
    }
    if (job_.time_limit_s > 0 && static_cast<std::uint64_t>(passed) > job_.time_limit_s) {
      return plain_error(ETIME, "the run inside user-mode Linux was ended after its time limit of {} s", job_.time_limit_s);
    }
    return {};
  }

  Status pass_signals() {
    if (signals_seen > 1) {
      return plain_error(EINTR, "killed by a second signal");
    }
    if (signals_seen == 1 && !stopping_) {
      stopping_ = true;
      SBENCH_TRY(write_text_atomic(exchange_ / fmt::format("stop-{}", static_cast<int>(last_signal)), "\n"));
    }
    return {};
  }

  Status watch(pid_t kernel) {
    const WatchSignals signals;
    const auto start = Clock::now();
    for (;;) {
      if (::waitpid(kernel, nullptr, WNOHANG) == kernel) {
        gone_ = true;
        return {};
      }
      relay();
      serve_discards(exchange_, job_.disks);
      SBENCH_TRY(pass_signals());
      SBENCH_TRY(check_limits(start));
      std::this_thread::sleep_for(kPoll);
    }
  }

  Result<int> exit_code() const {
    const std::string text = read_trimmed(exchange_ / "exit");
    if (text.empty()) {
      return plain_error(EIO, "user-mode Linux went down without a result; its console says: {}",
                         last_console_lines(exchange_));
    }
    return std::atoi(text.c_str());
  }

  const GuestJob& job_;
  fs::path exchange_;
  Tail out_;
  Tail err_;
  bool booted_ = false;
  bool stopping_ = false;
  bool gone_ = false;
};

Result<fs::path> make_exchange(const GuestJob& job) {
  // Short and without blanks: it stands on the kernel's command line.
  SBENCH_TRY_SET(fs::path exchange, make_unique_directory("/tmp/sbench-uml-"));
  SBENCH_TRY(make_directories(exchange / "home"));
  if (::symlink(job.init.c_str(), (exchange / "init").c_str()) != 0) {
    return errno_error("cannot make {}", (exchange / "init").string());
  }
  SBENCH_TRY(write_job(exchange, job));
  return exchange;
}

}  // namespace

std::string uml_release() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(kModules, error)) {
    return entry.path().filename().string();
  }
  return "";
}

Availability probe_uml() {
  utsname machine{};
  ::uname(&machine);
  if (std::string_view(machine.machine) != "x86_64") {
    return Availability::no(fmt::format("user-mode Linux is for x86-64; this is {}", machine.machine),
                            "use an x86-64 machine", EngineClass::uml);
  }
  if (find_program(kProgram).empty() || uml_release().empty()) {
    return Availability::no("linux.uml or its modules in /usr/lib/uml/modules are not installed",
                            "Debian, Ubuntu: apt-get install user-mode-linux; elsewhere unpack Debian's package of that name",
                            EngineClass::uml);
  }
  return Availability::yes(EngineClass::uml);
}

fs::path uml_cache() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path base = cache != nullptr && *cache == '/' ? fs::path(cache) : fs::path(home != nullptr ? home : "/") / ".cache";
  return base / "sbench/uml" / uml_release();
}

bool uml_has_zfs() {
  const auto is_there = [cache = uml_cache()](const char* file) { return ::access((cache / file).c_str(), F_OK) == 0; };
  return is_there("modules.order") && is_there("zfs.ko") && is_there("userland/sbin/zpool");
}

bool uml_has_ublk() {
  return read_trimmed(uml_cache() / "modules.order").find("ublk_drv.ko") != std::string::npos &&
         fs::exists(uml_cache() / "ublk_drv.ko");
}

void add_uml_modules(GuestJob& job) {
  const fs::path stock = fs::path(kModules) / uml_release() / "kernel";
  for (const char* name :
       {"drivers/md/dm-mod", "drivers/md/dm-bufio", "drivers/md/persistent-data/dm-persistent-data",
        "drivers/md/dm-bio-prison", "drivers/md/dm-thin-pool", "fs/overlayfs/overlay", "fs/fuse/fuse",
        "drivers/block/loop"}) {
    const fs::path file = stock / (std::string(name) + ".ko");
    if (fs::exists(file)) {
      job.modules.push_back(file);  // a kernel that has it built in has no file
    }
  }
  const fs::path cache = uml_cache();
  std::istringstream built(read_trimmed(cache / "modules.order"));
  for (std::string name; std::getline(built, name);) {
    job.modules.push_back(cache / name);
  }
  if (!fs::exists(cache)) {
    return;
  }
  job.visible.push_back(cache);
  const fs::path userland = cache / "userland";
  if (fs::exists(userland)) {
    job.environment["PATH"] =
        fmt::format("{}/sbin:{}:/sbin:/bin", userland.string(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
    job.environment["LD_LIBRARY_PATH"] =
        fmt::format("{0}/lib/x86_64-linux-gnu:{0}/usr/lib/x86_64-linux-gnu", userland.string());
  }
}

Result<int> run_in_uml(const GuestJob& job, const GuestOutput& output) {
  if (const Availability uml = probe_uml(); !uml.available) {
    return plain_error(ENOTSUP, "{}; {}", uml.reason, uml.remedy);
  }
  SBENCH_TRY_SET(const fs::path exchange, make_exchange(job));
  auto code = Guest(job, output, exchange).run();
  SBENCH_TRY(remove_tree(exchange));
  return code;
}

}  // namespace sbench
