// Build contexts: what .dockerignore leaves in, what a COPY takes, when its checksum changes.
#include "workloads/dockerfile/context.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

class Context : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& content) {
    fs::create_directories((folder_.path() / path).parent_path());
    const auto fd = open_file(folder_.path() / path, O_WRONLY | O_CREAT | O_TRUNC);
    ASSERT_TRUE(fd.ok());
    ASSERT_TRUE(write_all(fd->get(), content, path).ok());
  }

  /// "source>target" of what a COPY takes in; the error's text when it fails.
  std::vector<std::string> copied(const std::vector<std::string>& sources, const std::string& target,
                                  const std::string& workdir = "/") {
    const auto context = BuildContext::open(folder_.path(), folder_.path() / ".dockerignore");
    EXPECT_TRUE(context.ok());
    const auto files = context->files(sources, target, workdir);
    if (!files.ok()) {
      return {files.error().what};
    }
    std::vector<std::string> shown;
    for (const auto& file : *files) {
      shown.push_back(file.source + ">" + file.target);
    }
    return shown;
  }

  std::string checksum() {
    const auto context = BuildContext::open(folder_.path(), folder_.path() / ".dockerignore");
    const auto files = context->files({"."}, "/app/", "/");
    EXPECT_TRUE(files.ok());
    const auto sum = context->checksum(*files);
    EXPECT_TRUE(sum.ok());
    return *sum;
  }

  testing::TemporaryFolder folder_;
};

using Shown = std::vector<std::string>;

TEST_F(Context, a_file_goes_to_a_name_or_into_a_folder) {
  put("one", "1");
  put("two", "2");
  EXPECT_EQ(copied({"one"}, "/x"), Shown{"one>x"});
  EXPECT_EQ(copied({"one"}, "/x/"), Shown{"one>x/one"});
  EXPECT_EQ(copied({"one"}, "./", "/srv/app"), Shown{"one>srv/app/one"});
  EXPECT_EQ(copied({"one"}, "name", "/srv"), Shown{"one>srv/name"});
  EXPECT_EQ(copied({"one", "two"}, "/x/"), (Shown{"one>x/one", "two>x/two"}));
  EXPECT_EQ(copied({"t*", "on?"}, "/x/"), (Shown{"one>x/one", "two>x/two"}));
}

TEST_F(Context, a_folder_stands_for_what_it_holds) {
  put("src/a", "a");
  put("src/deep/b", "b");
  EXPECT_EQ(copied({"src"}, "/srv"), (Shown{"src>srv", "src/a>srv/a", "src/deep>srv/deep", "src/deep/b>srv/deep/b"}));
  EXPECT_EQ(copied({"src/"}, "/srv/"), (Shown{"src>srv", "src/a>srv/a", "src/deep>srv/deep", "src/deep/b>srv/deep/b"}));
  EXPECT_EQ(copied({"s*/*"}, "/srv/"), (Shown{"src/deep>srv", "src/a>srv/a", "src/deep/b>srv/b"}));
  EXPECT_EQ(copied({"."}, "/"), (Shown{"src>src", "src/a>src/a", "src/deep>src/deep", "src/deep/b>src/deep/b"}));
}

TEST_F(Context, a_folder_is_left_out_with_what_is_ignored_and_stays_for_nothing_else) {
  put("src/a", "a");
  put("src/cache/b", "b");
  fs::create_directories(folder_.path() / "src/empty");
  put(".dockerignore", "src/cache\n!src/cache/kept\n");
  EXPECT_EQ(copied({"src"}, "/srv"), (Shown{"src>srv", "src/a>srv/a", "src/empty>srv/empty"}));
  put("src/cache/kept", "k");
  EXPECT_EQ(copied({"src"}, "/srv"), (Shown{"src>srv", "src/a>srv/a", "src/cache/kept>srv/cache/kept", "src/empty>srv/empty"}));
}

TEST_F(Context, sources_that_name_nothing_or_climb_out_are_refused) {
  put("one", "1");
  put(".dockerignore", "one\n");
  EXPECT_NE(copied({"missing"}, "/x")[0].find("missing names nothing"), std::string::npos);
  EXPECT_NE(copied({"one"}, "/x")[0].find(".dockerignore"), std::string::npos);
  EXPECT_NE(copied({"../outside"}, "/x")[0].find("leads out"), std::string::npos);
}

TEST_F(Context, links_are_copied_as_links_and_lead_nowhere) {
  put("real/file", "f");
  fs::create_symlink("/etc", folder_.path() / "out");
  fs::create_symlink("real/file", folder_.path() / "link");
  EXPECT_EQ(copied({"link"}, "/x"), Shown{"link>x"});
  EXPECT_EQ(copied({"out"}, "/x"), Shown{"out>x"});
  EXPECT_NE(copied({"out/passwd"}, "/x")[0].find("link"), std::string::npos);
  EXPECT_NE(copied({"o*/passwd"}, "/x")[0].find("names nothing"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder_.path() / "pipe").c_str(), 0600), 0);
  EXPECT_NE(copied({"pipe"}, "/x")[0].find("cannot be copied"), std::string::npos);
}

TEST_F(Context, ignore_rules_follow_docker) {
  const auto out = [](const std::string& rules, const std::string& path) {
    return IgnoreRules::parse(rules, ".dockerignore").leaves_out(path);
  };
  EXPECT_TRUE(out("*.log", "a.log"));
  EXPECT_FALSE(out("*.log", "deep/a.log"));
  EXPECT_TRUE(out("**/*.log", "deep/er/a.log"));
  EXPECT_TRUE(out("**/*.log", "a.log"));
  EXPECT_TRUE(out("node_modules", "node_modules/x/y"));
  EXPECT_TRUE(out("/node_modules/", "node_modules"));
  EXPECT_FALSE(out("node_modules", "src/node_modules"));
  EXPECT_TRUE(out("*\n!README.md", "other"));
  EXPECT_FALSE(out("*\n!README.md", "README.md"));
  EXPECT_TRUE(out("*\n!*.md\nREADME.md", "README.md"));
  EXPECT_TRUE(out("# a comment\n\n  temp?  \r\n", "temp1"));
  EXPECT_FALSE(out("temp?", "temp12"));
  EXPECT_TRUE(out("[a-c]x", "bx"));
  EXPECT_FALSE(out("[^a-c]x", "bx"));
  EXPECT_TRUE(out("a/**", "a/b/c"));
  EXPECT_FALSE(out("a/**", "b/a"));
  EXPECT_FALSE(out("", "a"));
  EXPECT_THROW((void)IgnoreRules::parse("ok\n[a-", ".dockerignore"), UsageError);
  EXPECT_THROW((void)IgnoreRules::parse("../x", ".dockerignore"), UsageError);
}

TEST_F(Context, a_checksum_follows_content_names_and_modes_but_not_times) {
  put("src/a", "a");
  put("src/b", "b");
  const std::string first = checksum();
  EXPECT_EQ(checksum(), first);
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (folder_.path() / "src/a").c_str(), times, 0), 0);
  EXPECT_EQ(checksum(), first);
  put("src/a", "A");
  const std::string changed = checksum();
  EXPECT_NE(changed, first);
  put("src/a", "a");
  EXPECT_EQ(checksum(), first);
  ASSERT_EQ(::chmod((folder_.path() / "src/a").c_str(), 0755), 0);
  EXPECT_NE(checksum(), first);
  ASSERT_EQ(::chmod((folder_.path() / "src/a").c_str(), 0644), 0);
  fs::rename(folder_.path() / "src/b", folder_.path() / "src/c");
  EXPECT_NE(checksum(), first);
  fs::rename(folder_.path() / "src/c", folder_.path() / "src/b");
  put("ignored.log", "x");
  put(".dockerignore", "*.log\n.dockerignore\n");
  EXPECT_EQ(checksum(), first);
}

}  // namespace
}  // namespace sbench
