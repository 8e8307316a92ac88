#include "drivers/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "drivers/base/fd.h"

namespace sbench {
namespace {

constexpr std::size_t kOutputBytesMax = 16u << 20;

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return errno_error("cannot make a pipe");
  }
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

/// Only async-signal-safe calls: the parent may have threads.
[[noreturn]] void exec_child(const std::string& program, const std::vector<char*>& argv, int out, int err,
                             pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(127);
  }
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

/// Appends what is readable; false at end of file.
bool drain(int fd, std::string& text) {
  std::array<char, 65536> buffer{};
  const ssize_t count = ::read(fd, buffer.data(), buffer.size());
  if (count > 0 && text.size() < kOutputBytesMax) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return count > 0 || (count < 0 && errno == EINTR);
}

void collect(const Fd& out, const Fd& err, ProgramOutput& output,
             const std::function<void(std::string_view)>& take_stderr) {
  std::array<pollfd, 2> waits = {pollfd{out.get(), POLLIN, 0}, pollfd{err.get(), POLLIN, 0}};
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) {
      return;
    }
    if (waits[0].fd >= 0 && waits[0].revents != 0 && !drain(waits[0].fd, output.stdout_text)) {
      waits[0].fd = -1;
    }
    if (waits[1].fd >= 0 && waits[1].revents != 0 && !drain(waits[1].fd, output.stderr_text)) {
      waits[1].fd = -1;
    }
    if (take_stderr && !output.stderr_text.empty()) {
      take_stderr(output.stderr_text);
      output.stderr_text.clear();
    }
  }
}

}  // namespace

std::vector<char*> argv_of(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const auto& word : words) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  return argv;
}

std::string find_program(const std::string& program) {
  if (program.find('/') != std::string::npos) {
    return ::access(program.c_str(), X_OK) == 0 ? program : std::string();
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  const std::string all = std::string(rest) + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
  rest = all;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    std::string candidate = std::string(rest.substr(0, colon)) + "/" + program;
    if (candidate.front() == '/' && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  }
  return {};
}

Result<ProgramOutput> run_program(const std::vector<std::string>& argv,
                                  const std::function<void(std::string_view)>& take_stderr) {
  const std::string program = find_program(argv.at(0));
  if (program.empty()) {
    return plain_error(ENOENT, "cannot run {}: no such program in PATH; install it", argv[0]);
  }
  SBENCH_TRY_SET(Pipe out, make_pipe());
  SBENCH_TRY_SET(Pipe err, make_pipe());
  const std::vector<char*> raw_argv = argv_of(argv);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    return errno_error("cannot start {}", argv[0]);
  }
  if (child == 0) {
    exec_child(program, raw_argv, out.write_end.get(), err.write_end.get(), parent);
  }
  out.write_end.reset();
  err.write_end.reset();
  ProgramOutput output;
  collect(out.read_end, err.read_end, output, take_stderr);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return errno_error("cannot wait for {}", argv[0]);
    }
  }
  output.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return output;
}

Result<std::string> run_checked(const std::vector<std::string>& argv) {
  SBENCH_TRY_SET(ProgramOutput output, run_program(argv));
  if (output.exit_code != 0) {
    std::string_view text = output.stderr_text;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
      text.remove_suffix(1);
    }
    const auto newline = text.rfind('\n');
    const std::string_view last = newline == std::string_view::npos ? text : text.substr(newline + 1);
    return plain_error(EIO, "{} failed with exit code {}: {}", argv[0], output.exit_code, last);
  }
  return std::move(output.stdout_text);
}

std::string namespace_of(const std::string& process, const std::string& kind) {
  std::error_code unseen;
  return std::filesystem::read_symlink("/proc/" + process + "/ns/" + kind, unseen).string();
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  std::error_code gone;
  for (auto each = std::filesystem::directory_iterator("/proc", gone); each != std::filesystem::directory_iterator();
       each.increment(gone)) {
    const std::string name = each->path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos) {
      pids.push_back(std::stoi(name));
    }
  }
  return pids;
}

}  // namespace sbench
