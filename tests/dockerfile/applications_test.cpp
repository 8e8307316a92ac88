// Applications: a Dockerfile that takes in what is not there, or what Docker would unpack, is refused with its line.
#include "workloads/dockerfile/applications.h"

#include <gtest/gtest.h>

#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

class Applications : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& content) {
    std::filesystem::create_directories((folder_.path() / path).parent_path());
    ASSERT_TRUE(write_text_atomic(folder_.path() / path, content).ok());
  }
  /// Empty when it is accepted; else the message from the file's name on.
  std::string refusal(const std::string& text) {
    put("app.Dockerfile", text);
    try {
      static_cast<void>(read_applications({folder_.path() / "app.Dockerfile"}));
    } catch (const UsageError& error) {
      const std::string what = error.what();
      return what.substr(std::min(what.find("app.Dockerfile"), what.size()));
    }
    return "";
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Applications, sources_are_looked_for_in_every_stage_before_anything_is_built) {
  put("here", "x");
  EXPECT_EQ(refusal("FROM a\nCOPY here /x\n"), "");
  EXPECT_TRUE(refusal("FROM a\nRUN x\nCOPY not-here /x\n").starts_with("app.Dockerfile:3: COPY: not-here names nothing"));
  EXPECT_TRUE(refusal("FROM a AS b\nADD *.no /x/\nFROM a\nCOPY here /\n").starts_with("app.Dockerfile:2: ADD: *.no names nothing"));
  EXPECT_TRUE(refusal("FROM a\nCOPY ../x /x\n").starts_with("app.Dockerfile:2: COPY: ../x leads out"));
  EXPECT_EQ(refusal("FROM a AS b\nFROM a\nCOPY --from=b /not/here /x\n"), "");
}

TEST_F(Applications, what_docker_unpacks_is_copied_or_refused) {
  std::string tar(1024, '\0');
  tar.replace(257, 5, "ustar");
  for (const auto& [name, content] : {std::pair<std::string, std::string>("a.tar", tar), {"a.gz", "\x1f\x8b\x08"},
                                      {"a.bz2", "BZh9"}, {"a.xz", std::string("\xfd" "7zXZ\0", 6)}, {"a.zst", "\x28\xb5\x2f\xfd"}}) {
    put("folder/" + name, content);
    EXPECT_TRUE(refusal("FROM a\nADD folder/" + name + " /x/\n").starts_with("app.Dockerfile:2: ADD: Docker unpacks archives")) << name;
    EXPECT_TRUE(refusal("FROM a\nADD f*/* /x/\n").starts_with("app.Dockerfile:2: ADD: Docker unpacks archives")) << name;
    EXPECT_EQ(refusal("FROM a\nCOPY folder/" + name + " /x/\n"), "") << name;
    EXPECT_EQ(refusal("FROM a\nADD folder /x/\n"), "") << name;
    std::filesystem::remove(folder_.path() / "folder" / name);
  }
  put("short", "u");
  put("empty", "");
  EXPECT_EQ(refusal("FROM a\nADD short empty /x/\n"), "");
}

TEST_F(Applications, a_dockerfiles_own_rules_stand_for_those_of_the_folder) {
  put("one", "1");
  put("two", "2");
  put(".dockerignore", "one\n");
  EXPECT_NE(refusal("FROM a\nCOPY one /\n"), "");
  put("app.Dockerfile.dockerignore", "two\n");
  EXPECT_EQ(refusal("FROM a\nCOPY one /\n"), "");
  EXPECT_NE(refusal("FROM a\nCOPY two /\n"), "");
}

}  // namespace
}  // namespace sbench
