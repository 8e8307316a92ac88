#include "harness/guest/guard_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>

#include "drivers/base/file.h"

namespace sbench {
namespace {

constexpr pid_t kFarewell = -1;

[[noreturn]] void guard(int line, const std::filesystem::path& directory) {
  ::setsid();
  ::prctl(PR_SET_NAME, "sbench-guard");
  keep_only(kGuardCapabilities);
  refuse_new_privileges();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    ::signal(number, SIG_IGN);
  }
  const int null = ::open("/dev/null", O_RDWR);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(null, stream);  // who reads our output must not wait for the guard
  }
  pid_t group = 0;
  pid_t word = 0;
  for (ssize_t count = 0; (count = ::read(line, &word, sizeof word)) == sizeof word || (count < 0 && errno == EINTR);) {
    if (word == kFarewell) {
      ::_exit(0);
    }
    group = word;
  }
  if (group > 0) {
    ::kill(-group, SIGKILL);
    for (int tries = 0; tries < 100 && ::kill(-group, 0) == 0; ++tries) {
      ::usleep(50'000);
      ::kill(-group, SIGKILL);
    }
  }
  for (int tries = 0; !remove_tree(directory).ok() && tries < 200; ++tries) {  // others may still be going as well
    ::usleep(50'000);
  }
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<GuardProcess>> GuardProcess::start(const std::filesystem::path& directory) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return errno_error("cannot make a pipe");
  }
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) {
    return errno_error("cannot start a guard process");
  }
  if (pid == 0) {
    write_end.reset();
    guard(read_end.get(), directory);
  }
  return std::unique_ptr<GuardProcess>(new GuardProcess(pid, std::move(write_end)));
}

void GuardProcess::watch(pid_t group) { static_cast<void>(!::write(line_.get(), &group, sizeof group)); }

GuardProcess::~GuardProcess() {
  watch(kFarewell);
  line_.reset();
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace sbench
