// Completion scripts and the manual page know every command and flag that the help knows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/console.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

using ::testing::HasSubstr;
using testing::run_command;
using testing::TemporaryFolder;

struct Place {
  std::vector<std::string> path;
  std::vector<std::string> flags;
};

/// Commands and long flags as --help shows them, place by place.
std::vector<Place> places_of_help(const std::vector<std::string>& path = {}) {
  std::vector<std::string> arguments = path;
  arguments.emplace_back("--help");
  std::istringstream lines(run_command(arguments).out);
  Place here{path, {}};
  std::vector<Place> places;
  bool in_commands = false;
  static const std::regex flag(R"(^  (?:-\w,)?(--[a-z][a-z-]*))");
  static const std::regex command(R"(^  ([a-z]+) )");
  for (std::string line; std::getline(lines, line);) {
    in_commands = line == "Subcommands:" || (in_commands && !line.empty());
    std::smatch match;
    if (in_commands && std::regex_search(line, match, command)) {
      std::vector<std::string> below = path;
      below.push_back(match[1]);
      const auto found = places_of_help(below);
      places.insert(places.end(), found.begin(), found.end());
    } else if (std::regex_search(line, match, flag)) {
      here.flags.push_back(match[1]);
    }
  }
  places.push_back(here);
  return places;
}

std::string completion(const std::string& form) {
  const auto result = run_command({"completion", form});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  return result.out;
}

TEST(Completion, every_command_and_flag_of_the_help_is_in_every_script_and_in_the_manual) {
  const auto places = places_of_help();
  ASSERT_GT(places.size(), 15u);
  const std::string bash = completion("bash");
  const std::string zsh = completion("zsh");
  const std::string fish = completion("fish");
  const std::string manual = completion("man");
  for (const auto& [path, flags] : places) {
    std::string where = "sbench";
    for (const auto& word : path) {
      where += " " + word;
      EXPECT_THAT(fish, HasSubstr("-a " + word + " "));
    }
    EXPECT_THAT(bash, HasSubstr("\"" + where + "\""));
    EXPECT_THAT(zsh, HasSubstr("\"" + where + "\""));
    EXPECT_THAT(manual, HasSubstr(path.empty() ? ".SH COMMANDS" : ".SS \"" + where + "\""));
    for (const auto& flag : flags) {
      EXPECT_THAT(bash, HasSubstr(flag));
      EXPECT_THAT(zsh, HasSubstr("'" + flag + ":"));
      EXPECT_THAT(fish, HasSubstr(" -l " + flag.substr(2) + " "));
      if (flag != "--help") {
        EXPECT_THAT(manual, HasSubstr("\\fB" + std::regex_replace(flag, std::regex("-"), "\\-") + "\\fR"));
      }
    }
  }
}

/// What bash would offer for the last of `words`.
std::string offered(const std::filesystem::path& script, const std::string& words, int index) {
  const auto output = run_program({"bash", "-c", "source \"$1\"; COMP_WORDS=(" + words + "); COMP_CWORD=" + std::to_string(index) +
                                                     "; _sbench; echo \"${COMPREPLY[*]}\"", "bash", script.string()});
  EXPECT_TRUE(output.ok());
  EXPECT_EQ(output->stderr_text, "");
  return output->stdout_text.substr(0, output->stdout_text.find('\n'));
}

TEST(Completion, bash_offers_commands_flags_and_values) {
  const TemporaryFolder folder;
  const auto script = folder.path() / "sbench.bash";
  std::ofstream(script) << completion("bash");
  EXPECT_EQ(offered(script, "sbench rep", 1), "report");
  EXPECT_EQ(offered(script, "sbench run --prof", 2), "--profile");
  EXPECT_EQ(offered(script, "sbench run --profile st", 3), "standard");
  EXPECT_EQ(offered(script, "sbench run --driver btr", 3), "btrfs");
  EXPECT_EQ(offered(script, "sbench layer pre", 2), "prepare");
  EXPECT_EQ(offered(script, "sbench layer mount --sto", 3), "--store");
  EXPECT_EQ(offered(script, "sbench report --format ''", 3), "html markdown table json csv");
  EXPECT_EQ(offered(script, "sbench report /etc/hostn", 2), "/etc/hostname");
}

class Syntax : public ::testing::TestWithParam<const char*> {};

TEST_P(Syntax, the_script_is_one_that_its_shell_reads) {
  const std::string shell = GetParam();
  if (find_program(shell).empty()) {
    GTEST_SKIP() << shell << " is not installed";
  }
  const TemporaryFolder folder;
  const auto script = folder.path() / ("sbench." + shell);
  std::ofstream(script) << completion(shell);
  const auto output = run_program({shell, "-n", script.string()});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->exit_code, 0) << output->stderr_text;
}

INSTANTIATE_TEST_SUITE_P(Shells, Syntax, ::testing::Values("bash", "zsh", "fish"),
                         [](const auto& shell) { return std::string(shell.param); });

TEST(Manual, is_the_page_in_docs) {
  const std::string page = completion("man");
  const std::filesystem::path stored = std::filesystem::path(SBENCH_SOURCE_DIR) / "docs/sbench.1";
  if (std::getenv("SBENCH_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(stored) << page;
  }
  EXPECT_EQ(page, *read_text(stored)) << "after an intended change, run with SBENCH_UPDATE_GOLDEN=1";
}

TEST(Manual, is_troff_without_warnings) {
  if (find_program("groff").empty()) {
    GTEST_SKIP() << "groff is not installed";
  }
  const TemporaryFolder folder;
  const auto page = folder.path() / "sbench.1";
  std::ofstream(page) << completion("man");
  const auto output = run_program({"groff", "-man", "-Tascii", "-ww", "-z", page.string()});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->stderr_text, "");
}

TEST(Completion, an_unknown_shell_is_a_usage_error) {
  const auto result = run_command({"completion", "tcsh"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_EQ(testing::line_count(result.err), 1u);
}

}  // namespace
}  // namespace sbench
