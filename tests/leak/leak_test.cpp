// What a killed run leaves behind: nothing. SIGKILL at random moments of whole runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "harness/session.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

void pause_ms(std::uint64_t ms) {
  const timespec span{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  ::nanosleep(&span, nullptr);
}

/// Loop devices whose image lies in `folder`, mounts and processes that mention it or sbench's roots.
std::vector<std::string> leftovers(const fs::path& folder) {
  std::vector<std::string> found;
  for (const auto& device : fs::directory_iterator("/sys/block")) {
    const std::string backing = read_trimmed(device.path() / "loop/backing_file");
    if (backing.rfind(folder.string(), 0) == 0) {
      found.push_back("loop device " + device.path().filename().string() + " on " + backing);
    }
  }
  const std::string mounts = read_trimmed("/proc/self/mountinfo");
  for (const std::string& mark : {folder.string(), std::string("/run/sbench/roots")}) {
    if (mounts.find(mark) != std::string::npos) {
      found.push_back("a mount at " + mark);
    }
  }
  for (const auto& process : fs::directory_iterator("/proc")) {
    const std::string name = process.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos || name == std::to_string(::getpid())) {
      continue;
    }
    const auto command = read_text(process.path() / "cmdline");
    if (command.ok() && command->find(folder.string()) != std::string::npos) {
      found.push_back("process " + name);
    }
  }
  return found;
}

/// Starts `sbench run` as a program of its own.
pid_t start_run(const fs::path& folder, int round) {
  const std::string output = (folder / ("out" + std::to_string(round))).string();
  const std::string image_dir = folder.string();
  const pid_t child = ::fork();
  if (child == 0) {
    ::setpgid(0, 0);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::dup2(null, 2);
    ::execl(SBENCH_BINARY, SBENCH_BINARY, "run", "--all", "--profile", "smoke", "--blocks", "20", "--seed", "1", "--image-dir",
            image_dir.c_str(), "--image-size", "4G", "--output", output.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  return child;
}

/// Takes this process' arguments away, so that /proc/PID/cmdline is empty, as it is for a moment in every exec.
[[noreturn]] void live_without_a_command_line() {
  std::thread([] {  // on a stack of its own: the arguments lie with the first one's frames
    std::istringstream stat(read_trimmed("/proc/self/stat"));
    std::vector<std::string> fields{std::istream_iterator<std::string>(stat), {}};
    const std::uintptr_t page = 4096;  // fields 48 and 49: where the arguments begin and end; the name is one word
    const std::uintptr_t begin = std::stoull(fields.at(47)) / page * page;
    const std::uintptr_t end = (std::stoull(fields.at(48)) + page - 1) / page * page;
    const int comm = ::open("/proc/self/comm", O_WRONLY);
    ::munmap(reinterpret_cast<void*>(begin), end - begin);  // NOLINT(performance-no-int-to-ptr)
    static_cast<void>(!::write(comm, "bare", 4));  // system calls alone from here: a sanitizer's allocator reads argv[0]
    for (;;) {
      ::pause();
    }
  }).join();
  ::_exit(127);
}

void expect_clean_to_end(const std::string& name, const std::function<void()>& live) {
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t run = ::fork();
  if (run == 0) {
    const auto session = Session::enter();
    const pid_t helper = session.ok() ? ::fork() : -1;
    if (helper == 0) {
      live();
      ::_exit(127);
    }
    static_cast<void>(!::write(told[1], &helper, sizeof helper));
    ::pause();
    ::_exit(0);
  }
  pid_t helper = 0;
  ASSERT_EQ(::read(told[0], &helper, sizeof helper), static_cast<ssize_t>(sizeof helper));
  ASSERT_GT(helper, 0);
  for (int wait = 0; wait < 10'000 && read_trimmed("/proc/" + std::to_string(helper) + "/comm") != name; ++wait) {
    pause_ms(1);
  }
  const std::string line = "(process " + std::to_string(helper) + ")";
  EXPECT_THAT(testing::run_command({"clean"}).out, Not(HasSubstr(line)));
  EXPECT_EQ(::kill(helper, 0), 0);
  ::kill(run, SIGKILL);
  ::waitpid(run, nullptr, 0);
  const auto cleaned = testing::run_command({"clean"});
  EXPECT_THAT(cleaned.out, HasSubstr("ended " + name + " " + line)) << cleaned.err;
  ::kill(helper, SIGKILL);  // so that a failure is seen at once: it has our stdout
}

TEST(Leak, clean_ends_what_a_killed_run_left_in_its_session_and_nothing_of_a_living_one) {
  if (!testing::is_root()) {
    GTEST_SKIP() << "needs root for a mount namespace";
  }
  expect_clean_to_end("sleep", [] { ::execlp("sleep", "sleep", "60", nullptr); });  // as a program that lost its guard
  expect_clean_to_end("bare", live_without_a_command_line);
}

TEST(Leak, sigkill_at_random_moments_leaves_no_mount_loop_device_or_process) {
  if (!testing::is_root()) {
    GTEST_SKIP() << "needs root to make loop devices";
  }
  const char* chosen = std::getenv("SBENCH_TEST_SEED");
  const std::uint64_t seed = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : std::random_device()();
  const char* rounds_text = std::getenv("SBENCH_LEAK_ROUNDS");
  const int rounds = rounds_text != nullptr ? std::atoi(rounds_text) : 10;
  SCOPED_TRACE("SBENCH_TEST_SEED=" + std::to_string(seed));
  Rng rng(seed);
  const testing::TemporaryFolder folder;
  for (int round = 0; round < rounds; ++round) {
    const pid_t child = start_run(folder.path(), round);
    ASSERT_GT(child, 0);
    pause_ms(50 + rng.below(3000));
    ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "the run ended before it could be killed";
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    std::vector<std::string> left = leftovers(folder.path());
    for (int wait = 0; wait < 200 && !left.empty(); ++wait) {  // the kernel takes a namespace apart in the background
      pause_ms(50);
      left = leftovers(folder.path());
    }
    EXPECT_TRUE(left.empty()) << "round " << round << ": " << left.front();
  }
}

}  // namespace
}  // namespace sbench
