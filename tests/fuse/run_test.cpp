// run_test.cpp: a server that is killed during a run costs its sample, not the run.
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include <optional>
#include <thread>

#include "drivers/base/file.h"
#include "tests/fuse/served.h"

namespace sbench::test {
namespace {

/// The newest process named `name` whose parent is `parent`; 0 when there is none.
pid_t child_named(pid_t parent, const std::string& name) {
  pid_t found = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos || read_trimmed(entry.path() / "comm") != name) {
      continue;
    }
    const std::string status = read_trimmed(entry.path() / "status");
    if (status.find(fmt::format("\nPPid:\t{}\n", parent)) != std::string::npos) {
      found = std::max(found, static_cast<pid_t>(std::stoi(pid)));
    }
  }
  return found;
}

struct BackgroundRun {
  explicit BackgroundRun(const fs::path& folder) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid = ::fork();
    if (pid == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, STDOUT_FILENO);
      const std::string output = folder / "out";
      ::execl(SBENCH_BINARY, "sbench", "run", "--driver", "aufs:engine=userspace", "--workload", "copy_up.triggers",
              "--profile", "smoke", "--blocks", "1", "--image-dir", folder.c_str(), "--image-size", "2G", "--output",
              output.c_str(), "--progress", "plain", nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    messages = ::fdopen(ends[0], "r");
  }
  ~BackgroundRun() { std::fclose(messages); }

  /// The next line on stderr, or nothing at the end.
  std::optional<std::string> line() {
    char text[4096];
    return std::fgets(text, sizeof(text), messages) != nullptr ? std::optional<std::string>(text) : std::nullopt;
  }

  pid_t pid = 0;
  std::FILE* messages = nullptr;
};

TEST(KilledServer, a_killed_server_fails_its_sample_and_the_run_goes_on) {
  SBENCH_SKIP_UNLESS_FUSE();
  const sbench::testing::TemporaryFolder folder;
  BackgroundRun run(folder.path());
  bool killed = false;
  std::string failure;
  int good_after = 0;
  while (const auto line = run.line()) {
    const bool progress = line->starts_with("[");
    if (progress && !killed && line->find("aufs") != std::string::npos) {  // its first case is done: the next server is a case's
      for (int i = 0; i < 5000 && !killed; ++i) {
        const pid_t server = child_named(run.pid, "sbench-aufs");
        killed = server != 0 && ::kill(server, SIGKILL) == 0;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    if (line->find("FAILED") != std::string::npos && failure.empty()) {
      failure = *line;
    } else if (!failure.empty() && progress && line->find("ms") != std::string::npos) {
      ++good_after;
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(run.pid, &status, 0), run.pid);
  EXPECT_TRUE(killed);
  EXPECT_THAT(failure, ::testing::HasSubstr("aufs server"));
  EXPECT_THAT(failure, ::testing::HasSubstr("killed by signal 9"));
  EXPECT_GE(good_after, 1) << "cases after the failed one are measured";
  EXPECT_TRUE(WIFEXITED(status));
  const std::string result = read_text_of(folder.path() / "out" / "result.json");
  EXPECT_THAT(result, ::testing::HasSubstr("killed by signal 9"));
  EXPECT_THAT(result, ::testing::HasSubstr("\"helpers_rss_peak_bytes\""));
  EXPECT_THAT(result, ::testing::HasSubstr("\"cpu_helpers_s\""));
}

}  // namespace
}  // namespace sbench::test
