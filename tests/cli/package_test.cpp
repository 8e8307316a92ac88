// The installed tree works by itself: cmake --install, and the Debian package.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "drivers/base/process.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

const fs::path kBuild = fs::path(SBENCH_BINARY).parent_path();
const std::string kResult = std::string(SBENCH_SOURCE_DIR) + "/tests/reports/data/real_smoke_3_blocks.json";

ProgramOutput run(const std::vector<std::string>& argv) {
  const auto output = run_program(argv);
  EXPECT_TRUE(output.ok()) << argv[0];
  return output.ok() ? *output : ProgramOutput{-1, "", ""};
}

void expect_works(const fs::path& usr) {
  const std::string program = (usr / "bin/sbench").string();
  const auto listed = run({program, "list"});
  EXPECT_EQ(listed.exit_code, 0) << listed.stderr_text;
  EXPECT_THAT(listed.stdout_text, HasSubstr("overlay2"));
  const auto checked = run({program, "validate", kResult});
  EXPECT_EQ(checked.exit_code, 0) << checked.stderr_text;
  for (const char* file : {"share/man/man1/sbench.1", "share/bash-completion/completions/sbench", "share/sbench/reports/use_cases.ini",
                           "share/zsh/vendor-completions/_sbench", "share/fish/vendor_completions.d/sbench.fish",
                           "share/doc/sbench/LICENSE"}) {
    EXPECT_TRUE(fs::exists(usr / file) || fs::exists(usr / (std::string(file) + ".gz"))) << file;
  }
  // Proof that the installed copy of the reports answers, and not the source tree.
  std::ofstream(usr / "share/sbench/reports/__main__.py") << "print('the installed copy')\n";
  EXPECT_EQ(run({program, "validate", kResult}).stdout_text, "the installed copy\n");
}

TEST(Package, an_installed_tree_works_by_itself) {
  const TemporaryFolder folder;
  const auto installed = run({"cmake", "--install", kBuild.string(), "--prefix", folder.path().string()});
  ASSERT_EQ(installed.exit_code, 0) << installed.stderr_text;
  expect_works(folder.path());
}

TEST(Package, the_debian_package_unpacks_to_a_tree_that_works) {
  if (find_program("dpkg-deb").empty() || find_program("dpkg-shlibdeps").empty()) {
    GTEST_SKIP() << "dpkg-dev is not installed";
  }
  const TemporaryFolder folder;
  const auto packed = run({"cpack", "-G", "DEB", "--config", (kBuild / "CPackConfig.cmake").string(), "-B", folder.path().string()});
  ASSERT_EQ(packed.exit_code, 0) << packed.stdout_text << packed.stderr_text;
  fs::path package;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    package = entry.path().extension() == ".deb" ? entry.path() : package;
  }
  ASSERT_FALSE(package.empty());
  const auto depends = run({"dpkg-deb", "--field", package.string(), "Depends"}).stdout_text;
  EXPECT_THAT(depends, HasSubstr("python3-numpy"));
  EXPECT_THAT(depends, HasSubstr("libc6"));
  ASSERT_EQ(run({"dpkg-deb", "-x", package.string(), (folder.path() / "root").string()}).exit_code, 0);
  expect_works(folder.path() / "root/usr");
}

}  // namespace
}  // namespace sbench
