// rootless_test.cpp: sbench as an ordinary user: what runs in a user namespace does, and the rest says why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/privileges.h"
#include "drivers/base/process.h"
#include "harness/console.h"
#include "harness/guest/guard_process.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// What root prepares in a mount namespace of the test's own, before it becomes nobody.
struct Surroundings {
  bool fuse = true;      ///< /dev/fuse is for everybody, as distributions have it; else for root
  bool subids = false;   ///< nobody has ranges in /etc/subuid and /etc/subgid
  bool chrooted = false; ///< in a chroot(2), where the kernel makes no user namespaces
};

class Rootless : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::is_root()) {
      GTEST_SKIP() << "is not root to begin with: becoming nobody, with a /dev/fuse of its own, needs root";
    }
    const auto tried = run_program({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "true"});
    if (!tried.ok() || tried->exit_code != 0) {
      GTEST_SKIP() << "ordinary users have no user namespaces here";
    }
    fs::permissions(folder_.path(), fs::perms::all);
    fs::create_directories(own() / "chroot");
    std::ofstream(own() / "subids") << "nobody:200000:65536\n";
  }

  /// `sbench ARGUMENTS` as nobody; "@" in an argument stands for the test's folder.
  ProgramOutput as_nobody(std::vector<std::string> arguments, const Surroundings& around = {}) {
    std::string script = "set -e; mount --make-rprivate /; cd " + own().string() + "; mount -t tmpfs none dev; ";
    script += fmt::format("mknod -m {} dev/fuse c 10 229; mount --bind dev/fuse /dev/fuse; ", around.fuse ? "666" : "600");
    for (const char* file : {"/etc/subuid", "/etc/subgid"}) {
      script += fmt::format("[ -e {0} ] && mount --bind {1} {0}; ", file, around.subids ? "subids" : "/dev/null");
    }
    script += around.chrooted ? "mount --rbind / chroot; exec chroot --userspec=65534:65534 --groups= chroot \"$@\""
                              : "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    std::vector<std::string> argv = {"unshare", "-m", "bash", "-c", script, "bash", SBENCH_BINARY};
    for (auto& argument : arguments) {
      if (const auto at = argument.find('@'); at != std::string::npos) {
        argument.replace(at, 1, folder_.path().string());
      }
      argv.push_back(argument);
    }
    const auto output = run_program(argv);
    EXPECT_TRUE(output.ok());
    return output.ok() ? *output : ProgramOutput{};
  }

  /// A smoke run of `drivers`, limited to the cases that match.
  ProgramOutput run(const std::vector<std::string>& drivers, const std::string& filter, const Surroundings& around = {}) {
    std::vector<std::string> arguments = {"run",     "--profile", "smoke",    "--image-dir", "@", "--image-size", "2G", "--output", "@/out",
                                          "--no-report", "--progress", "plain", "--seed", "1", "--filter", filter};
    for (const auto& driver : drivers) {
      arguments.insert(arguments.end(), {"--driver", driver});
    }
    return as_nobody(arguments, around);
  }

  json result() const { return json::parse(read_trimmed(folder_.path() / "out/result.json")); }

  /// What lies in the folder besides the result and the test's own.
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      if (const std::string name = entry.path().filename(); name != "out" && name != "own") {
        names.push_back(name);
      }
    }
    return names;
  }

  fs::path own() const {
    fs::create_directories(folder_.path() / "own/dev");
    return folder_.path() / "own";
  }

  const testing::TemporaryFolder folder_;
};

/// The only sample whose name begins so.
json sample_of(const json& result, const std::string& start) {
  for (const auto& entry : result.at("benchmarks")) {
    if (entry.at("name").get<std::string>().starts_with(start)) {
      return entry.at("sbench");
    }
  }
  ADD_FAILURE() << "no sample of " << start;
  return json::object();
}

json driver_of(const json& result, const std::string& slug) {
  for (const auto& driver : result.at("sbench").at("drivers")) {
    if (driver.at("slug") == slug) {
      return driver;
    }
  }
  ADD_FAILURE() << "no driver " << slug;
  return json::object();
}

TEST_F(Rootless, the_kernels_overlay_runs_on_a_folder_and_reports_no_bytes_of_the_disk) {
  const auto output = run({"overlay2:engine=kernel"}, "first_write|op:chown|op:patch");
  ASSERT_EQ(output.exit_code, kExitOk) << output.stderr_text;
  const json found = result();
  EXPECT_EQ(found["sbench"]["device"]["kind"], "folder");
  EXPECT_EQ(found["sbench"]["control"]["driver"], "native.backing-folder");
  EXPECT_EQ(found["sbench"]["environment"]["state"]["user_namespace"], true);
  EXPECT_THAT(found["sbench"]["device"]["limits"].dump(), HasSubstr("no subordinate ids"));
  const json driver = driver_of(found, "overlay2.engine-kernel.backing-folder");
  EXPECT_EQ(driver.at("semantic_check"), "passed") << driver.at("differences").dump();
  EXPECT_EQ(driver.at("engine"), "kernel");
  EXPECT_THAT(driver.at("status").dump(), HasSubstr(R"(["userxattr","true"])"));
  const json sample = sample_of(found, "copy_up.triggers/overlay2.engine-kernel.backing-folder/op:patch");
  EXPECT_FALSE(sample.at("metrics").contains("bytes_dev_written"));
  EXPECT_FALSE(sample.at("metrics").contains("copied_bytes"));
  EXPECT_GE(sample.at("metrics").at("space_growth_bytes").get<double>(), 1'000'000) << "the file was copied up";
  const std::string skips = found["sbench"]["skips"].dump();
  EXPECT_THAT(skips, HasSubstr("no other owners"));
  EXPECT_THAT(skips, HasSubstr("the page cache cannot be emptied without root"));
  EXPECT_THAT(found["sbench"]["failures"], IsEmpty());
  EXPECT_THAT(left(), IsEmpty());
}

TEST_F(Rootless, where_every_case_says_it_cannot_run_nothing_has_failed) {
  const auto output = run({"overlay2:engine=kernel"}, "op:chown");
  EXPECT_EQ(output.exit_code, kExitNothingRan) << output.stderr_text;
  EXPECT_THAT(output.stderr_text, HasSubstr("no other owners"));
  EXPECT_THAT(output.stderr_text, HasSubstr("no case can run here"));
  EXPECT_THAT(result()["sbench"]["failures"], IsEmpty());
}

TEST_F(Rootless, engines_over_fuse_run_and_one_with_an_image_counts_its_own_bytes) {
  const auto output = run({"zfs:engine=userspace", "overlay2:engine=userspace", "aufs:engine=userspace"}, "first_write");
  ASSERT_EQ(output.exit_code, kExitOk) << output.stderr_text;
  const json found = result();
  for (const char* slug : {"zfs.engine-userspace", "overlay2.engine-userspace.backing-folder", "aufs.engine-userspace.backing-folder"}) {
    EXPECT_EQ(driver_of(found, slug).at("semantic_check"), "passed") << slug << driver_of(found, slug).at("differences").dump();
    EXPECT_EQ(driver_of(found, slug).at("engine"), "userspace");
  }
  const json warm = sample_of(found, "copy_up.first_write/zfs.engine-userspace/size:64k/touched:4k/depth:2/cache:warm").at("metrics");
  EXPECT_GE(warm.at("bytes_dev_written"), warm.at("bytes_app_written"));
  EXPECT_GE(warm.at("dev_flushes"), 1);
  const json cold = sample_of(found, "copy_up.first_write/zfs.engine-userspace/size:64k/touched:4k/depth:2/cache:cold");
  EXPECT_GE(cold.at("metrics").at("bytes_dev_read"), 4096) << "the pool was closed: it has to read";
  EXPECT_THAT(cold.at("flags").dump(), HasSubstr("cache_cold_verified"));
  EXPECT_THAT(left(), IsEmpty());
}

TEST_F(Rootless, with_subordinate_ids_files_have_other_owners) {
  if (find_program("newuidmap").empty() || !fs::exists("/etc/subuid") || !fs::exists("/etc/subgid")) {
    GTEST_SKIP() << "needs newuidmap, /etc/subuid and /etc/subgid (Debian's package uidmap)";
  }
  const auto output = run({"overlay2:engine=kernel"}, "op:chown", {.subids = true});
  ASSERT_EQ(output.exit_code, kExitOk) << output.stderr_text;
  const json found = result();
  EXPECT_THAT(found["sbench"]["device"]["limits"].dump(), Not(HasSubstr("no subordinate ids")));
  EXPECT_EQ(driver_of(found, "overlay2.engine-kernel.backing-folder").at("semantic_check"), "passed");
  EXPECT_TRUE(sample_of(found, "copy_up.triggers/overlay2.engine-kernel.backing-folder/op:chown").contains("metrics"));
  EXPECT_THAT(left(), IsEmpty()) << "files of other owners are removed, too";
}

TEST_F(Rootless, what_takes_a_device_or_a_fuse_that_is_closed_says_why) {
  const std::pair<const char*, const char*> drivers[] = {
      {"devicemapper:engine=userspace", "loop devices"},
      {"overlay2:backing=xfs", "xfs is made on a block device"},
      {"overlay2:metacopy=on", "any user could forge"},
      {"zfs:engine=userspace", "/dev/fuse cannot be opened"},
  };
  for (const auto& [driver, why] : drivers) {
    const auto output = run({driver}, "", {.fuse = false});
    EXPECT_EQ(output.exit_code, kExitNothingRan) << output.stderr_text;
    EXPECT_THAT(output.stderr_text, HasSubstr("cannot run here: ")) << driver;
    EXPECT_THAT(output.stderr_text, HasSubstr(why));
    EXPECT_FALSE(fs::exists(folder_.path() / "out"));
  }
}

TEST_F(Rootless, where_no_user_namespace_can_be_made_run_and_doctor_say_so) {
  const auto output = run({"overlay2"}, "", {.chrooted = true});
  EXPECT_EQ(output.exit_code, kExitNothingRan);
  EXPECT_EQ(testing::line_count(output.stderr_text), 1u) << output.stderr_text;
  EXPECT_THAT(output.stderr_text, HasSubstr("a user namespace cannot be made"));
  EXPECT_THAT(output.stderr_text, HasSubstr("sudo"));
  const auto doctor = as_nobody({"doctor"}, {.chrooted = true});
  EXPECT_THAT(doctor.stdout_text, HasSubstr("NO   user namespace"));
}

TEST_F(Rootless, doctor_says_of_every_engine_whether_it_runs_in_a_user_namespace) {
  const auto open = as_nobody({"doctor"});
  EXPECT_EQ(open.exit_code, kExitOk) << open.stdout_text;
  for (const char* line : {"ok   user namespace", "NO   owners", "ok   overlay2:engine=kernel", "ok   overlay2:engine=userspace",
                           "ok   zfs:engine=userspace", "ok   vfs ", "NO   btrfs", "NO   devicemapper:engine=userspace",
                           "NO   devicemapper:engine=kernel"}) {
    EXPECT_THAT(open.stdout_text, HasSubstr(line));
  }
  const auto closed = as_nobody({"doctor"}, {.fuse = false});
  EXPECT_THAT(closed.stdout_text, HasSubstr("chmod 666 /dev/fuse"));
  EXPECT_THAT(closed.stdout_text, HasSubstr("NO   zfs:engine=userspace"));
}

TEST_F(Rootless, a_run_that_is_killed_leaves_no_folder) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    static_cast<void>(!::freopen("/dev/null", "w", stderr));
    ::execlp("setpriv", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", SBENCH_BINARY, "run", "--driver", "vfs",
             "--image-dir", folder_.path().c_str(), "--image-size", "2G", "--output", (folder_.path() / "out").c_str(), nullptr);
    ::_exit(127);
  }
  const auto waits_for = [](const auto& condition) {
    for (int tries = 0; tries < 3000 && !condition(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
  };
  EXPECT_TRUE(waits_for([&] { return fs::exists(folder_.path() / "out/run.jsonl"); })) << "it works";
  EXPECT_THAT(left(), Not(IsEmpty()));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(waits_for([&] { return left().empty(); }));
}

TEST(Guard, keeps_what_ending_and_removing_take) {
  const testing::TemporaryFolder folder;
  const auto guard = GuardProcess::start(folder.path() / "watched");
  ASSERT_TRUE(guard.ok());
  const auto status = [&] { return read_trimmed(fmt::format("/proc/{}/status", (*guard)->pid())); };
  for (int tries = 0; tries < 3000 && status().find("NoNewPrivs:\t1") == std::string::npos; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::string text = status();
  EXPECT_THAT(text, HasSubstr("NoNewPrivs:\t1"));
  for (const std::string set : {"CapEff:\t", "CapPrm:\t", "CapInh:\t"}) {
    const auto kept = CapabilitySet::from_hex(text.substr(text.find(set) + set.size()));
    EXPECT_TRUE(kGuardCapabilities.contains(kept)) << set << kept.names();
  }
}

}  // namespace
}  // namespace sbench
