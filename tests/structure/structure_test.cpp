// The structure itself: includes point downward, and adding a driver or a workload stays small.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "drivers/base/process.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = SBENCH_SOURCE_DIR;

/// Floor of the staircase a file stands on; higher may include lower.
int floor_of(const std::string& path) {
  static const std::vector<std::pair<std::string, int>> floors = {
      {"drivers/base/", 0},  {"drivers/block/", 1}, {"drivers/layer/", 1}, {"drivers/backing/", 3},
      {"drivers/driver.h", 2}, {"drivers/layered_driver", 2}, {"drivers/", 4},     {"images/", 4},        {"workloads/", 5},
      {"harness/", 6},
  };
  for (const auto& [prefix, floor] : floors) {
    if (path.rfind(prefix, 0) == 0) {
      return floor;
    }
  }
  return -1;
}

std::string second_folder(const std::string& path) {
  const auto first = path.find('/');
  const auto second = path.find('/', first + 1);
  return second == std::string::npos ? "" : path.substr(first + 1, second - first - 1);
}

struct Include {
  std::string file;
  std::string included;
};

std::vector<Include> all_includes(bool system) {
  std::vector<Include> includes;
  const std::regex pattern(system ? R"(^#include <([^>]+)>)" : R"(^#include "([^"]+)\")");
  for (const char* folder : {"drivers", "images", "workloads", "harness"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kSource / folder)) {
      const auto extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp") {
        continue;
      }
      std::ifstream file(entry.path());
      std::string line;
      while (std::getline(file, line)) {
        std::smatch match;
        if (std::regex_search(line, match, pattern)) {
          includes.push_back({fs::relative(entry.path(), kSource).string(), match[1]});
        }
      }
    }
  }
  return includes;
}

TEST(Structure, includes_point_downward) {
  const auto includes = all_includes(false);
  ASSERT_GT(includes.size(), 100u);
  for (const auto& [file, included] : includes) {
    ASSERT_GE(floor_of(included), 0) << file << " includes " << included << ", which is in no known folder";
    // driver.h names layer/'s value types; layer/layer_table.h names driver.h's ids: the one knot, kept explicit.
    const bool knot = file.rfind("drivers/layer/layer_table", 0) == 0 || file == "drivers/driver.h";
    EXPECT_TRUE(knot || floor_of(file) >= floor_of(included)) << file << " includes upward: " << included;
  }
}

TEST(Structure, a_driver_includes_no_other_driver_and_workloads_see_drivers_through_their_door) {
  const std::set<std::string> shared = {"base", "block", "layer", "backing", "fuse", ""};
  // A driver may be made of an engine: these folders are engines, which know no driver.
  const std::set<std::string> engines = {"union_fs", "thin_pool", "cow_fs", "ublk"};
  for (const auto& [file, included] : all_includes(false)) {
    if (file.rfind("drivers/", 0) == 0 && included.rfind("drivers/", 0) == 0) {
      const std::string from = second_folder(file);
      const std::string to = second_folder(included);
      const bool allowed = shared.contains(to) || from == to || (engines.contains(to) && !engines.contains(from));
      EXPECT_TRUE(allowed) << file << " includes " << included;
    }
    if ((file.rfind("workloads/", 0) == 0 || file.rfind("images/", 0) == 0) && included.rfind("drivers/", 0) == 0) {
      const std::string to = second_folder(included);
      EXPECT_TRUE(to.empty() || to == "base" || to == "layer") << file << " looks behind driver.h: " << included;
    }
  }
}

TEST(Structure, libraries_stay_behind_their_own_doors) {
  const std::vector<std::pair<std::string, std::string>> doors = {
      {"fuse", "drivers/fuse/"}, {"CLI/", "harness/"}, {"nlohmann/", "harness/"}, {"benchmark/", "harness/"},
      {"archive", "drivers/layer/"},
  };
  for (const auto& [file, included] : all_includes(true)) {
    for (const auto& [prefix, folder] : doors) {
      const bool image_document = prefix == "nlohmann/" && file.rfind("images/", 0) == 0;
      if (included.rfind(prefix, 0) == 0 && !image_document) {
        EXPECT_EQ(file.rfind(folder, 0), 0u) << file << " includes <" << included << ">, which belongs to " << folder;
      }
    }
  }
}

/// The README's promise, carried out: in a private copy-on-write view of this
/// tree, one new folder and one line add a driver, one new file adds a workload.
TEST(Structure, a_driver_is_a_folder_and_a_line_and_a_workload_is_a_file) {
  if (!testing::is_root()) {
    GTEST_SKIP() << "needs root to overlay the source tree";
  }
  const testing::TemporaryFolder scratch;
  const auto output = run_program({"bash", (kSource / "tests/structure/extend.sh").string(), kSource.string(),
                                   fs::path(SBENCH_BINARY).parent_path().string(), scratch.path().string()});
  ASSERT_TRUE(output.ok()) << output.error().what;
  EXPECT_EQ(output->exit_code, 0) << output->stdout_text << output->stderr_text;
  EXPECT_NE(output->stdout_text.find("example.touch/example"), std::string::npos) << output->stdout_text;
}

}  // namespace
}  // namespace sbench
