// RUN for real: what a command sees, what it leaves, and how its failures read.
#include "workloads/dockerfile/run_step.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/support/busybox.h"
#include "tests/support/support.h"
#include "workloads/dockerfile/image_users.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

class RunStep : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::is_root()) {
      GTEST_SKIP() << "needs root";
    }
    for (const auto& reason : {testing::reason_no_busybox(), reason_no_exec()}) {
      if (!reason.empty()) {
        GTEST_SKIP() << reason;
      }
    }
    testing::make_busybox_tree(folder_.path());
  }

  [[nodiscard]] Status run(const std::string& line, const std::string& user = "", std::uint64_t limit_s = 60) const {
    return run_in_tree(folder_.path(), {{"/bin/sh", "-c", line}, environment_, workdir_, user}, limit_s);
  }
  [[nodiscard]] std::string read(const std::string& name) const { return read_text(folder_.path() / name).value(); }
  [[nodiscard]] std::pair<unsigned, unsigned> owner(const std::string& name) const {
    struct stat status {};
    EXPECT_EQ(::lstat((folder_.path() / name).c_str(), &status), 0) << name;
    return {status.st_uid, status.st_gid};
  }

  TemporaryFolder folder_;
  std::map<std::string, std::string> environment_;
  std::string workdir_ = "/";
};

using Owner = std::pair<unsigned, unsigned>;

TEST_F(RunStep, a_command_sees_its_tree_environment_and_folder_and_nothing_of_this_machine) {
  environment_ = {{"GREETING", "a b"}};
  workdir_ = "/srv";
  const Status ran = run("echo \"$GREETING $PWD $HOME $USER\" > out; echo $$ > pid; ls / > seen; ip -o link > links; "
                         "ls /proc | busybox grep -c '^[0-9]' > processes");
  ASSERT_TRUE(ran.ok()) << ran.error().what;
  EXPECT_EQ(read("srv/out"), "a b /srv /root \n");
  EXPECT_LT(std::stoi(read("srv/pid")), 10);
  EXPECT_EQ(read("srv/seen"), "bin\ndev\netc\nproc\nsrv\ntmp\n");
  EXPECT_LT(std::stoi(read("srv/processes")), 8);
  EXPECT_EQ(testing::line_count(read("srv/links")), 1u) << read("srv/links");
  EXPECT_FALSE(fs::exists(folder_.path() / "proc")) << "the image had none";
  EXPECT_FALSE(fs::exists(folder_.path() / "dev"));
}

TEST_F(RunStep, root_gives_files_any_owner_and_a_user_writes_as_itself) {
  Status ran = run("touch /srv/a && chown 4321:88 /srv/a && touch /srv/b");
  ASSERT_TRUE(ran.ok()) << ran.error().what;
  EXPECT_EQ(owner("srv/a"), Owner(4321, 88));
  EXPECT_EQ(owner("srv/b"), Owner(0, 0));
  for (const auto& [user, expected] : std::map<std::string, Owner>{
           {"app", {1234, 77}}, {"1234", {1234, 77}}, {"app:other", {1234, 88}}, {"999", {999, 0}}, {"999:5", {999, 5}}}) {
    ran = run("id -u > /tmp/u; touch /tmp/made", user);
    ASSERT_TRUE(ran.ok()) << user << ": " << ran.error().what;
    EXPECT_EQ(owner("tmp/made"), expected) << user;
    fs::remove(folder_.path() / "tmp/made");
    fs::remove(folder_.path() / "tmp/u");
  }
  ran = run("touch /srv/not-mine", "app");
  ASSERT_FALSE(ran.ok());
  EXPECT_THAT(ran.error().what, HasSubstr("Permission denied"));
  ran = run("true", "nobody-here");
  ASSERT_FALSE(ran.ok());
  EXPECT_THAT(ran.error().what, HasSubstr("no user nobody-here"));
}

// Harmless should it succeed: what is written is what was read.
TEST_F(RunStep, root_in_the_tree_is_not_root_of_this_machine) {
  for (const char* user : {"", "0:77"}) {
    for (const char* line : {"v=$(cat /proc/sys/vm/swappiness) && echo $v > /proc/sys/vm/swappiness",
                             "v=$(cat /proc/sys/kernel/core_pattern) && echo \"$v\" > /proc/sys/kernel/core_pattern",
                             ": >> /proc/sysrq-trigger", "mount -t tmpfs none /tmp", "mount -t proc none /tmp",
                             "mount -o remount,rw,bind /proc/sys", "busybox umount /proc/sys",
                             "busybox unshare -U -m true", "busybox mknod /srv/disk b 7 0 && cat /srv/disk"}) {
      const Status ran = run(line, user);
      EXPECT_FALSE(ran.ok()) << line;
      EXPECT_TRUE(ran.ok() || ran.error().what.starts_with("exit code ")) << ran.error().what;
    }
  }
  const Status group = run("test $(id -g) = 77 && touch /srv/grouped", "0:77");
  EXPECT_TRUE(group.ok()) << group.error().what;
  EXPECT_EQ(owner("srv/grouped"), Owner(0, 77));
  // Whatever of this machine's own is left writable in /proc would be found here.
  const Status open = run("for f in $(busybox find /proc -path '/proc/[0-9]*' -prune -o -path /proc/self -prune -o "
                          "-path /proc/thread-self -prune -o -type f -print); do ( : >> $f ) 2> /dev/null && echo $f; done > /srv/open; true");
  ASSERT_TRUE(open.ok()) << open.error().what;
  EXPECT_EQ(read("srv/open"), "");
}

TEST_F(RunStep, a_failure_is_one_line_with_the_end_of_the_output) {
  const Status ran = run("for i in 1 2 3 4 5 6 7 8 9; do echo line $i >&2; done; exit 7");
  ASSERT_FALSE(ran.ok());
  EXPECT_EQ(ran.error().what, "exit code 7: line 5|line 6|line 7|line 8|line 9");
  EXPECT_THAT(run("echo on stdout; exit 1").error().what, HasSubstr("exit code 1: on stdout"));
}

TEST_F(RunStep, a_command_that_takes_too_long_is_ended_with_all_it_started) {
  const Status ran = run("(sleep 300; echo late > /srv/late) & echo begun; sleep 300", "", 1);
  ASSERT_FALSE(ran.ok());
  EXPECT_EQ(ran.error().code, ETIMEDOUT);
  EXPECT_THAT(ran.error().what, HasSubstr("--run-limit"));
  EXPECT_THAT(run("sleep 300", "app", 1).error().what, HasSubstr("longer than 1 s"));
}

TEST_F(RunStep, a_tree_without_a_shell_says_so) {
  fs::remove(folder_.path() / "bin/sh");
  const Status ran = run("true");
  ASSERT_FALSE(ran.ok());
  EXPECT_EQ(ran.error().code, ENOEXEC) << ran.error().what;
  EXPECT_THAT(ran.error().what, HasSubstr("the image cannot run /bin/sh"));
  const Status exec_form = run_in_tree(folder_.path(), {{"/bin/busybox", "touch", "/srv/made"}, {}, "/", ""}, 60);
  EXPECT_TRUE(exec_form.ok()) << exec_form.error().what;
  EXPECT_TRUE(fs::exists(folder_.path() / "srv/made"));
}

TEST(ImageUsers, names_and_numbers_mean_what_docker_says) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "etc");
  const auto put = [&](const char* name, const std::string& text) {
    const auto fd = open_file(folder.path() / name, O_WRONLY | O_CREAT | O_TRUNC);
    ASSERT_TRUE(fd.ok() && write_all(fd->get(), text, name).ok());
  };
  put("etc/passwd", "broken\napp:x:1234:77::/srv:/bin/sh\nlow:x:-1:2::/:\n");
  put("etc/group", "web:x:77:\n");
  auto root = ContainedRoot::open(folder.path()).value();
  const auto ids = [&](const std::string& text, MissingGroup missing) {
    const auto user = find_image_user(root, text, missing);
    return user.ok() ? fmt::format("{}:{}", user->uid, user->gid) : user.error().what;
  };
  EXPECT_EQ(ids("app", MissingGroup::primary), "1234:77");
  EXPECT_EQ(ids("app", MissingGroup::same_number), "1234:1234");
  EXPECT_EQ(ids("55", MissingGroup::primary), "55:0");
  EXPECT_EQ(ids("55", MissingGroup::same_number), "55:55");
  EXPECT_EQ(ids("55:web", MissingGroup::same_number), "55:77");
  EXPECT_THAT(ids("low", MissingGroup::primary), HasSubstr("no user low"));
  EXPECT_THAT(ids("app:none", MissingGroup::primary), HasSubstr("no group none"));
  for (const char* text : {"", ":", ":web", "app:", "app:web:x"}) {
    EXPECT_THAT(ids(text, MissingGroup::primary), HasSubstr("is no USER[:GROUP]")) << text;
  }
}

}  // namespace
}  // namespace sbench
