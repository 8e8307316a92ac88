#include "harness/soak/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/process.h"

namespace sbench::soak {
namespace {

struct ProcessState {
  char state = '?';
  pid_t parent = 0;
};

ProcessState state_of(pid_t pid) {
  const std::string text = read_trimmed(fmt::format("/proc/{}/stat", pid));
  const auto name_end = text.rfind(')');
  ProcessState found;
  if (name_end != std::string::npos) {
    std::istringstream(text.substr(name_end + 1)) >> found.state >> found.parent;
  }
  return found;
}

std::string backtrace(pid_t pid) {
  if (find_program("gdb").empty() || find_program("timeout").empty()) {
    return "(no gdb here)\n";
  }
  const auto output = run_program({"timeout", "-k", "1", "20", "gdb", "-p", std::to_string(pid), "-batch", "-nx", "-ex",
                                   "thread apply all bt 30"});
  return output.ok() ? output->stdout_text : output.error().what + "\n";
}

std::string dump_process(pid_t pid) {
  std::string text = fmt::format("== {}\n", describe_process(pid));
  bool stoppable = true;
  std::error_code gone;
  const std::filesystem::path tasks = fmt::format("/proc/{}/task", pid);
  for (auto each = std::filesystem::directory_iterator(tasks, gone); each != std::filesystem::directory_iterator();
       each.increment(gone)) {
    const auto& task = each->path();
    const char state = state_of(std::stoi(task.filename().string())).state;
    stoppable = stoppable && state != 'D' && state != 'Z';
    text += fmt::format("-- thread {} {} state {} waits in {} system call {}\n{}\n", task.filename().string(),
                        read_trimmed(task / "comm"), state, read_trimmed(task / "wchan"), read_trimmed(task / "syscall"),
                        read_trimmed(task / "stack"));
  }
  return text + (stoppable ? backtrace(pid) : "(waits in the kernel: no backtrace of its own code)\n");
}

}  // namespace

Status become_reaper() {
  return ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? Status() : Status(errno_error("cannot become a reaper"));
}

Result<Child> Child::start(const std::vector<std::string>& argv, const std::filesystem::path& out,
                           const std::filesystem::path& err, const std::vector<std::string>& environment) {
  SBENCH_TRY_SET(const Fd null, open_file("/dev/null", O_RDONLY));
  SBENCH_TRY_SET(const Fd out_fd, open_file(out, O_WRONLY | O_CREAT | O_APPEND));
  SBENCH_TRY_SET(const Fd err_fd, open_file(err, O_WRONLY | O_CREAT | O_APPEND));
  const std::vector<char*> raw = argv_of(argv);
  std::vector<char*> variables = argv_of(environment);  // the first of a name counts
  variables.pop_back();
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.push_back(*variable);
  }
  variables.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) {
    return errno_error("cannot start {}", argv[0]);
  }
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0);
    ::dup2(null.get(), STDIN_FILENO);
    ::dup2(out_fd.get(), STDOUT_FILENO);
    ::dup2(err_fd.get(), STDERR_FILENO);
    ::execve(raw[0], raw.data(), variables.data());
    ::_exit(127);
  }
  return Child(pid);
}

bool Child::ended(Ended& how) {
  if (!reaped_) {
    int status = 0;
    rusage used{};
    if (::wait4(pid_, &status, WNOHANG, &used) != pid_) {
      return false;
    }
    reaped_ = true;
    how_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    how_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    how_.rss_max_kib = used.ru_maxrss;
  }
  how = how_;
  return true;
}

std::vector<pid_t> descendants(pid_t ancestor, const std::set<pid_t>& without) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : all_processes()) {
    const ProcessState state = state_of(pid);
    if (!without.contains(pid)) {
      children.emplace(state.parent, state.state == 'Z' ? -pid : pid);
    }
  }
  std::vector<pid_t> found;
  std::vector<pid_t> to_look_at = {ancestor};
  while (!to_look_at.empty()) {
    const pid_t parent = to_look_at.back();
    to_look_at.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto each = first; each != last; ++each) {
      to_look_at.push_back(std::abs(each->second));
      if (each->second > 0) {
        found.push_back(each->second);
      }
    }
  }
  return found;
}

std::string describe_process(pid_t pid) {
  return fmt::format("{} ({})", read_trimmed(fmt::format("/proc/{}/comm", pid)), pid);
}

void reap(const std::set<pid_t>& without) {
  for (const pid_t pid : all_processes()) {
    if (!without.contains(pid) && state_of(pid).parent == ::getpid()) {
      ::waitpid(pid, nullptr, WNOHANG);
    }
  }
}

std::string dump_stacks(const std::vector<pid_t>& pids) {
  std::string text;
  for (const pid_t pid : pids) {
    text += dump_process(pid);
  }
  return text;
}

long own_memory_kib() {
  const std::string status = read_trimmed("/proc/self/status");
  const auto at = status.find("RssAnon:");
  return at == std::string::npos ? 0 : std::strtol(status.c_str() + at + 8, nullptr, 10);
}

}  // namespace sbench::soak
