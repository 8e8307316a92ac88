// uml_test.cpp: what needs another kernel than this one: user-mode Linux, booted as an ordinary user.
//
// Conformance and physical truth of the real dm-thin and the real OpenZFS, smoke runs with
// --in uml, and what is left after signals: nothing. Skipped aloud where linux.uml is not
// installed, and those of OpenZFS where its modules were not built (minutes: not here).
//
//     ./quickstart uml-zfs && SBENCH_UML_ZFS=required build/release/tests/sbench_test_vm --gtest_filter='*zfs*'
//
//     ./quickstart uml-ublk && SBENCH_UML_UBLK=required build/release/tests/sbench_test_vm --gtest_filter='*ublk*'
//
// before a release: longer forms, and modules that are missing are a failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/guest/uml.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::TemporaryFolder;

constexpr unsigned kOrdinaryUser = 65534;

#define SKIP_WITHOUT_UML()                                     \
  if (const Availability uml = probe_uml(); !uml.available) { \
    GTEST_SKIP() << uml.reason << "; " << uml.remedy;          \
  }

/// A release must have seen the real OpenZFS.
bool zfs_is_required() { return std::getenv("SBENCH_UML_ZFS") != nullptr; }

#define SKIP_WITHOUT_ZFS()                                                                                            \
  SKIP_WITHOUT_UML();                                                                                                 \
  if (!uml_has_zfs()) {                                                                                               \
    ASSERT_FALSE(zfs_is_required()) << "OpenZFS is not in " << uml_cache();                                           \
    GTEST_SKIP() << "OpenZFS's modules for user-mode Linux are not built: sudo ./quickstart uml-zfs (some 5 minutes)"; \
  }

/// Runs a shell script inside, on a scratch disk that is /var/tmp there.
struct GuestOutcome {
  int code = -1;
  std::string text;
};

GuestOutcome run_script(const std::string& script, std::uint64_t limit_s) {
  const TemporaryFolder folder;
  const fs::path image = folder.path() / "disk";
  std::ofstream(image).close();
  fs::resize_file(image, 6 * kGiB);
  GuestJob job;
  job.init = SBENCH_BINARY;
  job.argv = {"/bin/sh", "-c", script};
  job.environment = {{"DM_DISABLE_UDEV", "1"}, {"SBENCH", SBENCH_BINARY}};
  add_uml_modules(job);
  job.visible.push_back(SBENCH_SOURCE_DIR);
  job.disks = {image};
  job.time_limit_s = limit_s;
  GuestOutcome outcome;
  const auto append = [&outcome](std::string_view text) { outcome.text += text; };
  const auto code = run_in_uml(job, {append, append});
  outcome.code = code.ok() ? *code : -1;
  outcome.text += code.ok() ? "" : code.error().what;
  return outcome;
}

constexpr const char* kScratch = "mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/ubda && "
                                 "mount /dev/ubda /var/tmp && ";

std::string beside(const char* program) { return (fs::read_symlink("/proc/self/exe").parent_path() / program).string(); }

TEST(Uml, the_real_dm_thin_passes_conformance) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script(std::string(kScratch) + beside("sbench_test_conformance") +
                                      " --gtest_filter='*Conformance*/devicemapper:*Content*/devicemapper'",
                                  600);
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("[  PASSED  ]"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("PASSED  ] 0 tests")));
  // Not what it skipped: CTest would take this test for a skipped one.
  const auto passed = outcome.text.rfind("[  PASSED  ]");
  std::printf("%s\n", outcome.text.substr(passed, outcome.text.find('\n', passed) - passed).c_str());
}

TEST(Uml, the_real_dm_thin_copies_a_chunk_at_a_first_write) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script(std::string(kScratch) + beside("sbench_test_drivers") + " --gtest_filter='*ThinTruth*:*PoolShapes*:*FullPool*/kernel'", 600);
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("dm-thin 64K: first write"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("SKIPPED")));
  std::printf("%s\n", outcome.text.c_str());
}

void expect_all_passed(const GuestOutcome& outcome) {
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("[  PASSED  ]"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("PASSED  ] 0 tests")));
}

/// The short form holds what depends on how devices are shown; the long one is all that tests the thin pool's driver.
TEST(Uml, our_thin_pool_shows_its_devices_through_ublk) {
  SKIP_WITHOUT_UML();
  const bool required = std::getenv("SBENCH_UML_UBLK") != nullptr;
  if (!uml_has_ublk()) {
    ASSERT_FALSE(required) << "ublk_drv.ko is not in " << uml_cache();
    GTEST_SKIP() << "ublk's module for user-mode Linux is not built: sudo ./quickstart uml-ublk (some 2 minutes)";
  }
  const std::string tests = required ? "Thin.*:*FirstWriteCost*:*FullPool*/userspace" : "Thin.*killed*:Thin.a_device_in_use*";
  std::string script = std::string(kScratch) + beside("sbench_test_drivers") + " --gtest_filter='" + tests + "'";
  if (required) {
    script += " && " + beside("sbench_test_conformance") + " --gtest_filter='*devicemapper_dm_export_ublk*'";
  }
  const auto outcome = run_script(script + "; code=$?; ls /sys/class/ublk-char; exit $code", 900);
  expect_all_passed(outcome);
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("OK ] Thin.ublk_devices_of_a_killed_server_are_deleted_by_clean"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("ublkc"))) << "something stayed";
}

TEST(Uml, the_real_zfs_passes_conformance) {
  SKIP_WITHOUT_ZFS();
  const std::string more = zfs_is_required() ? ":*Model*/zfs" : "";
  expect_all_passed(run_script(std::string(kScratch) + beside("sbench_test_conformance") +
                                   " --gtest_filter='*Conformance*/zfs:*Content*/zfs" + more + "'",
                               850));
}

TEST(Uml, the_real_zfs_copies_a_record_at_a_first_write) {
  SKIP_WITHOUT_ZFS();
  const std::string which = zfs_is_required() ? "*ZfsTruth*:ZfsStore*" : "*ZfsTruth*/128K";
  const auto outcome = run_script(std::string(kScratch) + beside("sbench_test_drivers") + " --gtest_filter='" + which + "'", 600);
  expect_all_passed(outcome);
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("SKIPPED")));
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("zfs 128K: a first write"));
}

/// Starts sbench as an ordinary user with a HOME of its own; stderr and stdout go to a file.
class OrdinaryRun {
 public:
  explicit OrdinaryRun(const std::vector<std::string>& arguments, bool with_cache = false) {
    fs::permissions(folder_.path(), fs::perms::all);
    const fs::path cache = uml_cache();
    if (with_cache) {
      const fs::path copy = folder_.path() / ".cache/sbench/uml" / cache.filename();
      fs::create_directories(copy);
      fs::copy(cache, copy, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    }
    child_ = ::fork();
    if (child_ == 0) {
      const int log = ::open((folder_.path() / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
      ::dup2(log, STDOUT_FILENO);
      ::dup2(log, STDERR_FILENO);
      if (::geteuid() == 0 && (::setgid(kOrdinaryUser) != 0 || ::setuid(kOrdinaryUser) != 0)) {
        ::_exit(126);
      }
      ::setenv("HOME", folder_.path().c_str(), 1);
      ::unsetenv("XDG_CACHE_HOME");
      std::vector<std::string> words = {SBENCH_BINARY, "run", "--in", "uml", "--output", output().string()};
      words.insert(words.end(), arguments.begin(), arguments.end());
      std::vector<char*> argv;
      for (auto& word : words) {
        argv.push_back(word.data());
      }
      argv.push_back(nullptr);
      ::execv(SBENCH_BINARY, argv.data());
      ::_exit(127);
    }
  }
  ~OrdinaryRun() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
  }
  OrdinaryRun(const OrdinaryRun&) = delete;
  OrdinaryRun& operator=(const OrdinaryRun&) = delete;

  fs::path output() const { return folder_.path() / "out"; }
  std::string log() const { return read_trimmed(folder_.path() / "log"); }
  pid_t pid() const { return child_; }

  /// Exit code, 128 + signal when one ended it.
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  /// Until the guest has begun to measure, or `limit_s` have passed.
  bool wait_for(std::string_view words, int limit_s) const {
    for (int tenths = 0; tenths < limit_s * 10; ++tenths) {
      if (log().find(words) != std::string::npos) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }

 private:
  TemporaryFolder folder_;
  pid_t child_ = -1;
};

/// Processes of guests that write to `output`, by their command lines.
std::vector<std::string> guests_of(uid_t user) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    const std::string comm = read_trimmed(entry.path() / "comm");
    const std::string status = read_trimmed(entry.path() / "status");
    const bool own = status.find("\nUid:\t" + std::to_string(user) + "\t") != std::string::npos;
    const bool dead = status.find("\nState:\tZ") != std::string::npos;
    if (own && !dead && (comm.starts_with("linux.uml") || comm.starts_with("sbench"))) {
      found.push_back(name + " " + comm);
    }
  }
  return found;
}

std::vector<std::string> guests_after_a_while() {
  for (int tries = 0; tries < 100 && !guests_of(kOrdinaryUser).empty(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return guests_of(kOrdinaryUser);
}

TEST(Uml, a_smoke_run_as_an_ordinary_user_measures_the_real_dm_thin) {
  SKIP_WITHOUT_UML();
  OrdinaryRun run({"--driver", "devicemapper", "--profile", "smoke", "--workload", "copy_up.first_write", "--seed", "7"});
  EXPECT_EQ(run.wait(), 0) << run.log();
  const json result = json::parse(std::ifstream(run.output() / "result.json"));
  const json& body = result.at("sbench");
  EXPECT_TRUE(body.at("complete").get<bool>());
  EXPECT_EQ(body.at("device").at("kind"), "ubd");
  EXPECT_EQ(body.at("environment").at("version").at("kernel_release"), uml_release());
  EXPECT_THAT(body.at("environment").at("version").at("guest").at("modules_loaded").dump(), ::testing::HasSubstr("dm_thin_pool"));
  for (const auto& driver : body.at("drivers")) {
    EXPECT_EQ(driver.at("engine"), "uml") << driver;
    if (driver.at("name") == "devicemapper") {
      EXPECT_EQ(driver.at("semantic_check"), "passed") << driver.at("differences");
    }
  }
  EXPECT_THAT(run.log(), ::testing::HasSubstr("Device bytes relative to native, uml engines"));
  EXPECT_TRUE(guests_after_a_while().empty());
}

TEST(Uml, a_smoke_run_as_an_ordinary_user_measures_the_real_zfs) {
  SKIP_WITHOUT_ZFS();
  std::vector<std::string> arguments = {"--profile", "smoke", "--filter", "copy_up.first_write/.*/cache:warm", "--seed", "7"};
  std::vector<std::string> expected = {"zfs"};
  if (zfs_is_required()) {
    arguments.insert(arguments.end(), {"--all"});
    expected = {"overlay2", "overlay", "btrfs", "devicemapper", "zfs", "vfs"};
  } else {
    arguments.insert(arguments.end(), {"--driver", "zfs"});
  }
  OrdinaryRun run(arguments, true);
  EXPECT_EQ(run.wait(), 0) << run.log();
  const json result = json::parse(std::ifstream(run.output() / "result.json"));
  std::set<std::string> measured;
  for (const auto& driver : result.at("sbench").at("drivers")) {
    if (driver.at("engine") == "uml" && driver.at("semantic_check") == "passed") {
      measured.insert(driver.at("name"));
    }
  }
  for (const auto& name : expected) {
    EXPECT_TRUE(measured.contains(name)) << name << "\n" << run.log();
  }
}

TEST(Uml, a_killed_run_leaves_no_process_and_no_folder) {
  SKIP_WITHOUT_UML();
  OrdinaryRun run({"--driver", "vfs", "--profile", "smoke", "--seed", "7"});
  ASSERT_TRUE(run.wait_for("samples in", 120)) << run.log();
  ::kill(run.pid(), SIGKILL);
  run.wait();
  EXPECT_THAT(guests_after_a_while(), ::testing::IsEmpty());
  for (const auto& entry : fs::directory_iterator("/tmp")) {
    struct stat status {};
    const bool own = ::stat(entry.path().c_str(), &status) == 0 && status.st_uid == kOrdinaryUser;
    EXPECT_FALSE(own && entry.path().filename().string().starts_with("sbench-uml-")) << entry.path();
  }
}

TEST(Uml, an_interrupted_run_stops_after_its_case_and_is_finished_by_resume) {
  SKIP_WITHOUT_UML();
  OrdinaryRun run({"--driver", "null", "--filter", "harness", "--profile", "smoke", "--blocks", "8", "--seed", "7"});
  ASSERT_TRUE(run.wait_for("[3/", 200)) << run.log();
  ::kill(run.pid(), SIGINT);
  EXPECT_EQ(run.wait(), 128 + SIGINT) << run.log();
  const json cut = json::parse(std::ifstream(run.output() / "result.json"));
  EXPECT_FALSE(cut.at("sbench").at("complete").get<bool>());
  EXPECT_THAT(run.log(), ::testing::HasSubstr("sbench run --resume"));
  EXPECT_TRUE(guests_after_a_while().empty());
  const auto finished = run_program({SBENCH_BINARY, "run", "--resume", run.output().string()});
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->exit_code, 0) << finished->stderr_text;
  const json whole = json::parse(std::ifstream(run.output() / "result.json"));
  EXPECT_TRUE(whole.at("sbench").at("complete").get<bool>());
}

TEST(Uml, what_is_wrong_with_the_command_line_or_the_drivers_comes_out) {
  SKIP_WITHOUT_UML();
  OrdinaryRun mistaken({"--driver", "no-such-driver"});
  EXPECT_EQ(mistaken.wait(), 2) << mistaken.log();
  OrdinaryRun absent({"--driver", "overlay2", "--profile", "smoke", "--filter", "no-such-case"});
  EXPECT_EQ(absent.wait(), 5) << absent.log();
  EXPECT_THAT(absent.log(), ::testing::HasSubstr("nothing to run"));
}

TEST(Uml, a_job_past_its_time_limit_is_ended) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script("echo begun; sleep 600", 20);
  EXPECT_EQ(outcome.code, -1);
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("time limit"));
}

TEST(Uml, what_a_killed_run_leaves_in_the_device_mapper_is_cleaned_away) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script(
      "$SBENCH run --in uml --device /dev/ubda --yes --wipe --driver devicemapper --profile smoke --seed 7 "
      "--filter first_write/devicemapper --output /run/out 2>/run/log & pid=$!\n"
      "until ls /dev/mapper | grep -q thin-0; do sleep 0.2; done; kill -9 $pid; wait $pid; sleep 1\n"
      "ls /dev/mapper | grep -c sbench-; $SBENCH clean; ls /dev/mapper; exit 0",
      200);
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("removed sbench-98.0-pool"));
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("removed sbench-98.0-data"));
  EXPECT_THAT(outcome.text, ::testing::EndsWith("control\n"));
}

}  // namespace
}  // namespace sbench
