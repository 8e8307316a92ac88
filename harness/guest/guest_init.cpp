#include "harness/guest/guest_init.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/guest/guest_disk.h"
#include "harness/guest/guest_job.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr useconds_t kPoll_us = 50'000;
constexpr std::array<const char*, 4> kCovered = {"/run", "/mnt", "/tmp", "/var/tmp"};

/// Goes to the console, which the host keeps and quotes when something is wrong.
void complain(const std::string& text) {
  const std::string line = "sbench guest: " + text + "\n";
  static_cast<void>(!::write(STDERR_FILENO, line.data(), line.size()));
}

bool mount_at(const char* type, const std::string& target, unsigned long flags, const std::string& data) {
  std::error_code ignored;
  fs::create_directories(target, ignored);
  if (::mount(type, target.c_str(), type, flags, data.c_str()) != 0) {
    complain(errno_error("cannot mount {} on {}", type, target).what);
    return false;
  }
  return true;
}

bool is_covered(const fs::path& path) {
  for (const std::string cover : kCovered) {
    if (path.string() == cover || path.string().starts_with(cover + "/")) {
      return true;
    }
  }
  return false;
}

/// The host directory once more, at the same path: hostfs takes it as its mount data.
void show_host_directory(const fs::path& path, unsigned long flags) { mount_at("hostfs", path, flags, path); }

void mount_basics() {
  mount_at("proc", "/proc", 0, "");
  mount_at("sysfs", "/sys", 0, "");
  if (::access("/dev/null", F_OK) != 0) {
    mount_at("devtmpfs", "/dev", 0, "");
  }
  for (const char* cover : kCovered) {
    mount_at("tmpfs", cover, MS_NOSUID | MS_NODEV, "mode=1777");
  }
  mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
  mount_at("devpts", "/dev/pts", 0, "");
  static_cast<void>(!::symlink("/proc/self/fd", "/dev/fd"));
  for (const char* folder : {"/run/home", "/run/tmp"}) {
    ::mkdir(folder, 0700);
  }
}

void load_modules(const std::vector<fs::path>& modules) {
  for (const auto& module : modules) {
    const auto file = open_file(module, O_RDONLY);
    if (!file.ok() || (::syscall(SYS_finit_module, file->get(), "", 0) != 0 && errno != EEXIST)) {
      complain(errno_error("cannot load {}", module.string()).what);
    }
  }
}

void show_directories(const GuestJob& job) {
  for (const auto& path : job.visible) {
    if (is_covered(path)) {
      show_host_directory(path, MS_RDONLY);
    }
  }
  for (const auto& path : job.writable) {
    show_host_directory(path, 0);
  }
}

[[noreturn]] void exec_job(const GuestJob& job, const fs::path& exchange) {
  ::setsid();
  const int input = ::open("/dev/null", O_RDONLY);
  const int out = ::open((exchange / "stdout").c_str(), O_WRONLY | O_APPEND);
  const int err = ::open((exchange / "stderr").c_str(), O_WRONLY | O_APPEND);
  ::dup2(input, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::clearenv();
  ::setenv("PATH", kPath, 1);
  ::setenv("HOME", "/run/home", 1);
  ::setenv("TMPDIR", "/run/tmp", 1);
  ::setenv(kGuestExchange, exchange.c_str(), 1);
  for (const auto& [name, value] : job.environment) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }
  static_cast<void>(!::chdir(job.working_directory.c_str()));
  const std::vector<char*> argv = argv_of(job.argv);
  ::execv(argv[0], argv.data());
  complain(errno_error("cannot run {}", job.argv[0]).what);
  ::_exit(127);
}

void pass_signals(const fs::path& exchange, pid_t job) {
  for (const int number : {SIGINT, SIGTERM}) {
    const auto request = exchange / ("stop-" + std::to_string(number));
    if (::access(request.c_str(), F_OK) == 0 && ::unlink(request.c_str()) == 0) {
      ::kill(job, number);
    }
  }
}

/// Waits for the job and buries what other processes leave; the job's exit code, 128 + signal when one ended it.
int supervise(const fs::path& exchange, pid_t job) {
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, WNOHANG);
    if (ended == job) {
      return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (ended <= 0) {
      pass_signals(exchange, job);
      ::usleep(kPoll_us);
    }
  }
}

[[noreturn]] void power_off() {
  ::sync();
  ::reboot(RB_POWER_OFF);
  ::reboot(RB_HALT_SYSTEM);
  for (;;) {
    ::pause();
  }
}

}  // namespace

bool inside_user_mode_linux() {
  static const bool inside = read_trimmed("/proc/cpuinfo").find("User Mode Linux") != std::string::npos;
  return inside;
}

bool is_guest_init() {
  if (::getpid() != 1) {
    return false;
  }
  ::mount("proc", "/proc", "proc", 0, nullptr);  // a kernel's first process has none; elsewhere this fails or changes nothing
  return read_trimmed("/proc/cpuinfo").find("User Mode Linux") != std::string::npos;
}

void run_guest_init(int argc, char** argv) {
  mount_basics();
  const fs::path exchange = argc > 1 ? argv[1] : "";
  show_host_directory(exchange, 0);
  auto job = read_job(exchange);
  if (!job.ok()) {
    complain(job.error().what);
    power_off();
  }
  show_directories(*job);
  load_modules(job->modules);
  const pid_t child = ::fork();
  if (child == 0) {
    exec_job(*job, exchange);
  }
  if (const Status noted = write_text_atomic(exchange / "started", "\n"); !noted.ok()) {
    complain(noted.error().what);
  }
  const int code = supervise(exchange, child);
  if (const Status noted = write_text_atomic(exchange / "exit", std::to_string(code) + "\n"); !noted.ok()) {
    complain(noted.error().what);
  }
  power_off();
}

}  // namespace sbench
