// server_process_test.cpp: servers that end, die, hang, or are left, and what they cost.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "tests/fuse/served.h"

namespace sbench::test {
namespace {

class ServerProcess : public ::testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_FUSE(); }
};

bool within(int limit_ms, const std::function<bool()>& condition) {
  for (int waited_ms = 0; waited_ms < limit_ms; waited_ms += 10) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

TEST_F(ServerProcess, stop_takes_mount_and_process_away) {
  Served served;
  write_text(served.at() / "file", "x");
  const pid_t pid = served.server->pid();
  EXPECT_THAT(live_helpers(), ::testing::Contains(::testing::Field(&HelperInfo::pid, pid)));
  must(served.server->stop());
  EXPECT_FALSE(is_mount_point(served.at()));
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_THAT(live_helpers(), ::testing::Not(::testing::Contains(::testing::Field(&HelperInfo::pid, pid))));
}

/// A line of /proc/PID/status.
std::string status_of(pid_t pid, const std::string& name) {
  const std::string text = sbench::read_trimmed(fmt::format("/proc/{}/status", pid));
  const auto at = text.find(name + ":\t");
  return at == std::string::npos ? "" : text.substr(at + name.size() + 2, text.find('\n', at) - at - name.size() - 2);
}

TEST_F(ServerProcess, a_server_keeps_only_the_capabilities_it_was_to_keep) {
  for (const CapabilitySet kept : {fuse::kTreeServerCapabilities, fuse::kPoolServerCapabilities}) {
    fuse::ServerOptions options;
    options.capabilities = kept;
    const Served served(options);
    for (const char* set : {"CapEff", "CapPrm", "CapBnd"}) {
      EXPECT_EQ(CapabilitySet::from_hex(status_of(served.server->pid(), set)).names(), kept.names()) << set;
    }
    EXPECT_EQ(status_of(served.server->pid(), "NoNewPrivs"), "1");
#if !defined(__SANITIZE_THREAD__)  // whose runtime has a thread of its own in every process
    const CapabilitySet mounting{CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_MKNOD, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
                                 CAP_SETPCAP};
    for (const auto& task : fs::directory_iterator(fmt::format("/proc/{}/task", served.server->pid()))) {
      const auto thread = CapabilitySet::from_hex(status_of(std::stoi(task.path().filename().string()), "CapEff"));
      EXPECT_TRUE((kept | mounting).contains(thread)) << thread.names();
    }
#endif
    write_text(served.at() / "file", "text");
    EXPECT_EQ(read_text_of(served.at() / "file"), "text");
  }
}

/// The process that watches for fuse-overlayfs: it is nobody's child, and in this test's mount namespace.
pid_t find_guard() {
  std::error_code gone;
  const auto own = fs::read_symlink("/proc/self/ns/mnt", gone);
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (sbench::read_trimmed(entry.path() / "comm") == "sbench-guard" && fs::read_symlink(entry.path() / "ns/mnt", gone) == own) {
      return std::stoi(name);
    }
  }
  return -1;
}

TEST_F(ServerProcess, a_server_may_have_more_files_open_than_its_parent_might_when_it_was_started) {
  constexpr rlim_t kParents = 100;
  constexpr int kFiles = 300;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_GT(before.rlim_max, kFiles + kParents);
  const rlimit few{kParents, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  Served served;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  std::vector<Fd> open;
  for (int i = 0; i < kFiles; ++i) {
    const std::string path = served.at() / fmt::format("file-{}", i);
    open.emplace_back(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
    ASSERT_TRUE(open.back().valid()) << path << ": " << std::strerror(errno);
  }
  open.clear();
  must(served.server->stop());
}

TEST_F(ServerProcess, fuse_overlayfs_and_its_guard_keep_only_what_they_use) {
  if (sbench::find_program("fuse-overlayfs").empty()) {
    GTEST_SKIP() << "needs the program fuse-overlayfs";
  }
  sbench::testing::enter_private_namespace();
  const sbench::testing::TemporaryFolder folder;
  for (const char* name : {"lower", "upper", "work", "at"}) {
    fs::create_directories(folder.path() / name);
  }
  fuse::ServerOptions options;
  options.session.name = "fuse-overlayfs";
  const std::string at = folder.path() / "at";
  const auto server = must(fuse::ServerProcess::start_program(
      at, options,
      {"fuse-overlayfs", "-f", "-o",
       fmt::format("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", folder.path().string()), at}));
  const CapabilitySet wanted = fuse::kTreeServerCapabilities | CapabilitySet{CAP_SYS_RESOURCE};
  const CapabilitySet program = wanted - (wanted - CapabilitySet::own());  // a container may lack SYS_RESOURCE from the start
  pid_t guard = -1;
  ASSERT_TRUE(within(10'000, [&] { return (guard = find_guard()) > 0; }));
  for (const char* set : {"CapEff", "CapPrm", "CapBnd"}) {
    EXPECT_EQ(CapabilitySet::from_hex(status_of(server->pid(), set)).names(), program.names()) << set;
    EXPECT_TRUE(within(10'000, [&] {
      return CapabilitySet::from_hex(status_of(guard, set)).names() == CapabilitySet{CAP_SYS_ADMIN}.names();
    })) << set << status_of(guard, set);
  }
  EXPECT_TRUE(within(10'000, [&] { return status_of(guard, "NoNewPrivs") == "1"; }));
  write_text(folder.path() / "at/file", "text");
  EXPECT_EQ(read_text_of(folder.path() / "upper/file"), "text") << "and it works with that";
  must(server->stop());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need address space of their own
TEST_F(ServerProcess, stop_works_where_there_is_no_memory_for_a_thread) {
  Served served;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  std::uint64_t pages = 0;
  std::istringstream(read_trimmed("/proc/self/statm")) >> pages;
  const rlimit all_used{pages * 4096 + (1 << 20), before.rlim_max};
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_getattr_default_np(&attributes), 0);
  std::size_t stack_bytes = 0;
  ASSERT_EQ(::pthread_attr_getstacksize(&attributes, &stack_bytes), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, std::size_t{256} << 20), 0);  // larger than any that was kept
  ASSERT_EQ(::pthread_setattr_default_np(&attributes), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &all_used), 0);
  bool started = true;
  try {
    std::thread([] {}).join();
  } catch (const std::system_error&) {
    started = false;
  }
  const Status stopped = served.server->stop();
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, stack_bytes), 0);
  ASSERT_EQ(::pthread_setattr_default_np(&attributes), 0);
  EXPECT_FALSE(started);
  EXPECT_TRUE(stopped.ok()) << stopped.error().what;
  EXPECT_FALSE(is_mount_point(served.at()));
}
#endif

TEST_F(ServerProcess, stop_refuses_while_the_tree_is_in_use) {
  Served served;
  Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT);
  const auto refused = served.server->stop();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_EQ(::write(file.get(), "still", 5), 5);
  file.reset();
  must(served.server->stop());
}

TEST_F(ServerProcess, what_is_on_its_way_to_the_server_arrives_before_the_mount_goes) {
  Served served;
  served.control->release_ms = 150;
  must_open(served.at() / "file", O_RDWR | O_CREAT).reset();  // returns while the server still closes
  std::thread stopper([&] { must(served.server->stop()); });
  EXPECT_TRUE(within(10'000, [&] { return !is_mount_point(served.at()); }));
  EXPECT_EQ(served.control->releases, 1U);
  stopper.join();
}

TEST_F(ServerProcess, what_the_parent_has_mapped_stays_free_of_later_servers) {
  Served first;
  write_text(first.at() / "file", std::string(4096, 'x'));
  Fd file = must_open(first.at() / "file", O_RDONLY);
  void* mapped = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  Served second;  // forked now
  ASSERT_EQ(::munmap(mapped, 4096), 0);
  file.reset();
  must(first.server->stop());
  must(second.server->stop());
}

TEST_F(ServerProcess, a_file_system_that_cannot_be_made_says_why) {
  sbench::testing::enter_private_namespace();
  const sbench::testing::TemporaryFolder folder;
  const auto failed = fuse::ServerProcess::start(
      folder.path(), {}, [] { return Result<std::unique_ptr<FileSystem>>(plain_error(ENOSPC, "no room for it")); });
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ENOSPC);
  EXPECT_EQ(failed.error().what, "no room for it");
  EXPECT_FALSE(is_mount_point(folder.path()));
  const auto crashed = fuse::ServerProcess::start(folder.path(), {}, []() -> Result<std::unique_ptr<FileSystem>> {
    ::raise(SIGKILL);
    return plain_error(EIO, "not reached");
  });
  ASSERT_FALSE(crashed.ok());
  EXPECT_THAT(crashed.error().what, ::testing::HasSubstr("killed by signal 9"));
}

TEST_F(ServerProcess, after_a_kill_calls_fail_at_once_and_a_new_server_serves_the_same_tree) {
  Served served;
  write_text(served.at() / "file", "kept");
  const Fd file = must_open(served.at() / "file", O_RDONLY);
  ASSERT_EQ(::kill(served.server->pid(), SIGKILL), 0);
  ASSERT_TRUE(within(5000, [&] { return !served.server->alive(); }));
  struct stat status {};
  EXPECT_NE(::lstat((served.at() / "other").c_str(), &status), 0);
  EXPECT_EQ(errno, ENOTCONN);
  const_cast<Fd&>(file).reset();
  const auto stopped = served.server->stop();
  ASSERT_FALSE(stopped.ok());
  EXPECT_THAT(stopped.error().what, ::testing::HasSubstr("killed by signal 9"));
  EXPECT_FALSE(is_mount_point(served.at()));
  EXPECT_THAT(take_failed_helpers(), ::testing::Contains(::testing::HasSubstr("mirror server")));
  served.start();
  EXPECT_EQ(read_text_of(served.at() / "file"), "kept");
  must(served.server->stop());
}

TEST_F(ServerProcess, a_server_dies_with_its_parent_and_takes_the_mount_along) {
  sbench::testing::enter_private_namespace();
  const sbench::testing::TemporaryFolder folder;
  const auto at = folder.path() / "at";
  fs::create_directories(folder.path() / "below");
  fs::create_directories(at);
  int tell[2];
  ASSERT_EQ(::pipe(tell), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const auto control = make_shared_memory<MirrorControl>();
    auto server = fuse::ServerProcess::start(at, {}, [&, control] {
      return Result<std::unique_ptr<FileSystem>>(std::make_unique<Mirror>(folder.path() / "below", *control));
    });
    const pid_t pid = server.ok() ? (*server)->pid() : -1;
    static_cast<void>(::write(tell[1], &pid, sizeof(pid)));
    ::pause();
    ::_exit(0);
  }
  pid_t server = 0;
  ASSERT_EQ(::read(tell[0], &server, sizeof(server)), static_cast<ssize_t>(sizeof(server)));
  ASSERT_GT(server, 0);
  EXPECT_TRUE(is_mount_point(at));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(within(5000, [&] { return !is_mount_point(at); }));
  EXPECT_TRUE(within(5000, [&] { return start_ticks_of(server) == 0 || read_trimmed(fmt::format("/proc/{}/cmdline", server)).empty(); }));
}

int forks_until_the_end = 0;

/// A process that is killed right after its `fork_number`th fork while it starts a program that serves.
void die_while_starting_a_program(int fork_number, const fs::path& at, const std::vector<std::string>& command) {
  const pid_t parent = ::fork();
  if (parent == 0) {
    forks_until_the_end = fork_number;
    ::pthread_atfork(nullptr, [] {
      if (--forks_until_the_end == 0) {
        ::kill(::getpid(), SIGKILL);
      }
    }, nullptr);
    static_cast<void>(fuse::ServerProcess::start_program(at, {}, command));
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(parent, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it forked less often";
}

TEST_F(ServerProcess, a_parent_that_dies_while_it_starts_a_program_leaves_none) {
  const sbench::testing::TemporaryFolder folder;
  const auto program = folder.path() / "program";
  const auto started = folder.path() / "started";
  write_text(program, fmt::format("#!/bin/sh\necho $$ >> {}\nexec sleep 60\n", started.string()));
  fs::permissions(program, fs::perms::owner_all);
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  for (const int fork_number : {1, 2}) {  // the program's, its guard's
    die_while_starting_a_program(fork_number, folder.path(), {program.string()});
    EXPECT_TRUE(within(5000, [] { return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }));
    const std::string pids = fs::exists(started) ? read_text_of(started) : "";
    EXPECT_EQ(pids, "") << "it was started without a guard";
    if (!pids.empty()) {
      ::kill(std::stoi(pids), SIGKILL);
      fs::remove(started);
    }
  }
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

TEST_F(ServerProcess, a_server_that_hangs_is_cut_off) {
  fuse::ServerOptions options;
  options.stall_limit_ms = 1500;
  options.session.passthrough = false;
  Served served(options);
  write_text(served.below() / "file", "x");
  served.control->hang = true;
  Fd file = must_open(served.at() / "file", O_RDONLY);
  char byte = 0;
  EXPECT_LT(::read(file.get(), &byte, 1), 0);
  EXPECT_TRUE(errno == ECONNABORTED || errno == ENOTCONN || errno == EIO) << std::strerror(errno);
  file.reset();
  served.control->hang = false;
  const auto stopped = served.server->stop();
  ASSERT_FALSE(stopped.ok());
  EXPECT_THAT(stopped.error().what, ::testing::HasSubstr("cut off"));
  EXPECT_FALSE(is_mount_point(served.at()));
}

TEST_F(ServerProcess, a_stopped_process_is_cut_off_too) {
  fuse::ServerOptions options;
  options.stall_limit_ms = 1000;
  Served served(options);
  ::kill(served.server->pid(), SIGSTOP);
  struct stat status {};
  EXPECT_NE(::lstat((served.at() / "name").c_str(), &status), 0);
  EXPECT_FALSE(served.server->stop().ok());
  EXPECT_FALSE(is_mount_point(served.at()));
}

TEST_F(ServerProcess, a_server_that_was_left_is_adopted_by_its_record) {
  Served served;
  write_text(served.at() / "file", "kept");
  const auto record = served.folder.path() / "record";
  const pid_t pid = served.server->pid();
  must(served.server->leave(record));
  served.server.reset();
  EXPECT_EQ(read_text_of(served.at() / "file"), "kept") << "it goes on serving";
  {
    auto adopted = must(fuse::ServerProcess::adopt(served.at(), record));
    EXPECT_EQ(adopted->pid(), pid);
    must(adopted->stop());
  }
  EXPECT_FALSE(is_mount_point(served.at()));
  EXPECT_FALSE(fuse::ServerProcess::adopt(served.at(), record).ok()) << "it is gone";
}

TEST_F(ServerProcess, a_connection_that_is_gone_ends_no_other) {
  std::optional<fuse::Connection> gone;
  {
    Served first;
    gone = fuse::Connection::find(first.at());
    ASSERT_TRUE(gone.has_value());
    must(first.server->stop());
  }
  Served second;  // the kernel gives it the number anew
  must(gone->abort());
  write_text(second.at() / "file", "served");
  EXPECT_EQ(read_text_of(second.at() / "file"), "served");
}

TEST_F(ServerProcess, what_servers_use_is_counted_and_never_shrinks) {
  const HelperCpu before = helper_cpu();
  double last = before.user_s + before.sys_s;
  reset_helper_peak();
  for (int round = 0; round < 3; ++round) {
    Served served;
    served.control->backing = false;
    for (int i = 0; i < 300; ++i) {
      write_text(served.at() / std::to_string(i), std::string(10'000, 'x'));
      if (i % 50 == 0) {
        const HelperCpu now = helper_cpu();
        EXPECT_GE(now.user_s + now.sys_s, last);
        last = now.user_s + now.sys_s;
        // A server just forked may share all its pages with this process.
        EXPECT_TRUE(i == 0 || helper_memory().rss_bytes > 100'000u) << helper_memory().rss_bytes;
      }
    }
    if (round == 1) {
      ::kill(served.server->pid(), SIGKILL);
    }
    static_cast<void>(served.server->stop());
    const HelperCpu now = helper_cpu();
    EXPECT_GE(now.user_s + now.sys_s, last);
    last = now.user_s + now.sys_s;
  }
  EXPECT_GT(last - before.user_s - before.sys_s, 0.01);
  EXPECT_GT(helper_memory().rss_peak_bytes, 100'000u);
  EXPECT_LT(helper_memory().rss_peak_bytes, 100'000'000u) << "one after the other, they do not add up";
}

}  // namespace
}  // namespace sbench::test
