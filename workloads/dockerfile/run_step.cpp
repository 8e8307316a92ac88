#include "workloads/dockerfile/run_step.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "workloads/dockerfile/image_users.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* kView = "/mnt/root";  ///< where another USER's bubblewrap finds the tree
constexpr std::size_t kTailLinesMax = 5;
constexpr std::size_t kTailBytesMax = 800;
constexpr int kTimedOut = 124;  ///< timeout(1)'s exit code

Status write_map(pid_t child, const char* name) {
  const std::string file = fmt::format("/proc/{}/{}", child, name);
  SBENCH_TRY_SET(const Fd fd, open_file(file, O_WRONLY));
  return write_all(fd.get(), "0 0 4294967295\n", file);
}

/// A user namespace in which every id is itself, and which allows no other below it: its root is root over files
/// and has no capability over this machine. It still owns what root owns, so nothing of root's may be in its
/// reach but the tree (shut_proc). The descriptor is inherited by programs started while it is open.
Result<Fd> user_namespace() {
  std::array<int, 2> ready{};
  std::array<int, 2> done{};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) {
    return errno_error("cannot make a pipe");
  }
  Fd ready_in(ready[0]);
  Fd ready_out(ready[1]);
  if (::pipe2(done.data(), O_CLOEXEC) != 0) {
    return errno_error("cannot make a pipe");
  }
  Fd done_in(done[0]);
  Fd done_out(done[1]);
  const pid_t child = ::fork();
  if (child < 0) {
    return errno_error("cannot start a process");
  }
  if (child == 0) {
    char byte = ::unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    ::close(done_out.get());
    bool good = ::write(ready_out.get(), &byte, 1) == 1 && ::read(done_in.get(), &byte, 1) == 1;
    const int limit = ::open("/proc/sys/user/max_user_namespaces", O_WRONLY);  // of the new one alone
    byte = good && limit >= 0 && ::write(limit, "0", 1) == 1 ? 'y' : 'n';
    good = ::write(ready_out.get(), &byte, 1) == 1 && ::read(done_in.get(), &byte, 1) == 0;
    ::_exit(good ? 0 : 1);
  }
  ready_out.reset();
  done_in.reset();
  char byte = 'n';
  Status mapped;
  Fd made;
  if (::read(ready_in.get(), &byte, 1) != 1 || byte != 'y') {
    mapped = plain_error(EPERM, "this kernel makes no user namespace");
  }
  for (const char* name : {"uid_map", "gid_map"}) {
    mapped = mapped.ok() ? write_map(child, name) : mapped;
  }
  if (mapped.ok() && (::write(done_out.get(), "m", 1) != 1 || ::read(ready_in.get(), &byte, 1) != 1 || byte != 'y')) {
    mapped = plain_error(EPERM, "this kernel does not limit user namespaces");
  }
  if (mapped.ok()) {
    made = Fd(::open(fmt::format("/proc/{}/ns/user", child).c_str(), O_RDONLY));  // no O_CLOEXEC: it is passed on
    mapped = made.valid() ? Status() : Status(errno_error("cannot open a user namespace"));
  }
  done_out.reset();
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!mapped.ok()) {
    return mapped.error();
  }
  return made;
}

void append(std::vector<std::string>& all, const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

/// Everything in /proc but the processes is this machine's, and root's to write by its owner alone (bubblewrap
/// covers part of it, and not /proc/sys when root starts it): it becomes read-only.
std::vector<std::string> shut_proc() {
  std::vector<std::string> words;
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    struct stat status {};
    if (std::isdigit(static_cast<unsigned char>(name.front())) == 0 && ::lstat(it->path().c_str(), &status) == 0 &&
        !S_ISLNK(status.st_mode)) {
      append(words, {"--ro-bind-try", it->path().string(), it->path().string()});
    }
  }
  return words;
}

std::vector<std::string> isolated(const std::string& root, bool as_root) {
  std::vector<std::string> words = {"--bind", root, "/", "--proc", "/proc"};
  append(words, shut_proc());
  append(words, {"--dev", "/dev", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--die-with-parent",
                 "--new-session", "--clearenv", "--cap-drop", "ALL"});
  if (as_root) {  // what builds need and Docker gives them; without CAP_SYS_ADMIN nothing can be mounted
    for (const char* name : {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
                             "SETFCAP", "NET_BIND_SERVICE", "SYS_CHROOT"}) {
      append(words, {"--cap-add", std::string("CAP_") + name});
    }
  }
  return words;
}

/// The words that run `command`; `users` is the namespace for root.
std::vector<std::string> bubblewrap(const fs::path& root, const RunCommand& command, const ImageUser& user,
                                    const Fd& users) {
  std::vector<std::string> argv;
  if (user.uid == 0) {
    append(argv, {"bwrap", "--userns", std::to_string(users.get()), "--uid", "0", "--gid", std::to_string(user.gid)});
    append(argv, isolated(root.string(), true));
  } else {  // it may not be able to reach `root`, so one with root's rights shows it the tree first
    append(argv, {"bwrap", "--dev-bind", "/", "/", "--tmpfs", fs::path(kView).parent_path().string(), "--bind",
                  root.string(), kView, "--die-with-parent", "--", "setpriv", "--reuid", std::to_string(user.uid),
                  "--regid", std::to_string(user.gid), "--clear-groups", "bwrap", "--unshare-user"});
    append(argv, isolated(kView, false));
  }
  std::map<std::string, std::string> environment = {{"PATH", kPath}, {"HOME", user.home}};
  for (const auto& [name, value] : command.environment) {
    environment[name] = value;
  }
  for (const auto& [name, value] : environment) {
    append(argv, {"--setenv", name, value});
  }
  append(argv, {"--chdir", command.workdir, "--"});
  append(argv, command.argv);
  return argv;
}

std::string tail_of(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  std::size_t start = text.size() > kTailBytesMax ? text.size() - kTailBytesMax : 0;
  std::size_t at = text.size();
  for (std::size_t lines = 0; lines < kTailLinesMax && at != std::string::npos && at > start; ++lines) {
    at = text.rfind('\n', at - 1);
  }
  start = at != std::string::npos && at > start ? at + 1 : start;
  std::string tail = text.substr(start);
  for (char& c : tail) {  // it ends in one line, and on a terminal
    c = c == '\n' ? '|' : std::iscntrl(static_cast<unsigned char>(c)) != 0 ? ' ' : c;
  }
  return tail;
}

/// /proc and /dev are only there for the command where the tree had none.
class MountPoints {
 public:
  explicit MountPoints(const ContainedRoot& root) : root_(root) {
    for (const char* name : {"proc", "dev"}) {
      struct stat status {};
      if (::fstatat(root.fd(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        made_.emplace_back(name);
      }
    }
  }
  ~MountPoints() {
    for (const auto& name : made_) {
      static_cast<void>(::unlinkat(root_.fd(), name.c_str(), AT_REMOVEDIR));
    }
  }
  MountPoints(const MountPoints&) = delete;
  MountPoints& operator=(const MountPoints&) = delete;
  /// Another USER's bubblewrap could not make them in root's tree.
  Status make() const {
    for (const auto& name : made_) {
      if (::mkdirat(root_.fd(), name.c_str(), 0755) != 0) {
        return errno_error("cannot make /{} in the container", name);
      }
    }
    return {};
  }

 private:
  const ContainedRoot& root_;
  std::vector<std::string> made_;
};

}  // namespace

std::string reason_no_exec() {
  for (const char* program : {"bwrap", "timeout", "setpriv"}) {
    if (find_program(program).empty()) {
      return fmt::format("there is no {}; install {}", program,
                         program == std::string("bwrap") ? "bubblewrap" : "coreutils and util-linux");
    }
  }
  const auto users = user_namespace();
  if (!users.ok()) {
    return users.error().what + "; raise /proc/sys/user/max_user_namespaces, or run on the host and not in a container";
  }
  std::vector<std::string> argv = {"bwrap", "--userns", std::to_string(users->get())};
  append(argv, isolated("/", true));
  append(argv, {"--", "/bin/true"});
  const auto tried = run_checked(argv);
  return tried.ok() ? "" : tried.error().what + "; run on the host and not in a container";
}

Status run_in_tree(const fs::path& root, const RunCommand& command, std::uint64_t limit_s) {
  SBENCH_TRY_SET(ContainedRoot contained, ContainedRoot::open(root));
  ImageUser user;
  SBENCH_TRY_SET(user, find_image_user(contained, command.user.empty() ? "0" : command.user, MissingGroup::primary));
  SBENCH_TRY_SET(const Fd users, user_namespace());
  const MountPoints mount_points(contained);
  SBENCH_TRY(mount_points.make());
  std::vector<std::string> argv = {"timeout", "--kill-after=5", std::to_string(limit_s)};
  append(argv, bubblewrap(root, command, user, users));
  const auto start = std::chrono::steady_clock::now();
  SBENCH_TRY_SET(const ProgramOutput output, run_program(argv));
  const bool over = std::chrono::steady_clock::now() - start >= std::chrono::seconds(limit_s);
  if (output.exit_code == 0) {
    return {};
  }
  const std::string tail = tail_of(output.stderr_text.empty() ? output.stdout_text : output.stderr_text);
  if (over && (output.exit_code == kTimedOut || output.exit_code > 128)) {
    return plain_error(ETIMEDOUT, "it took longer than {} s and was ended; --run-limit allows more: {}", limit_s, tail);
  }
  if (output.stderr_text.starts_with("bwrap: execvp ")) {
    return plain_error(ENOEXEC, "the image cannot run {} ({}); bring an image that has it with --image, or replay: "
                       "--run-steps=replay", command.argv.front(), tail);
  }
  return plain_error(EIO, "exit code {}: {}", output.exit_code, tail.empty() ? "it said nothing" : tail);
}

}  // namespace sbench
