// crash_test.cpp: containers at work, the power cut at flushes and between them: nothing acknowledged is lost.
//
// The short form takes a few cuts of a short run on each engine. By hand, every one:
//
//     tests/crash/cuts --driver zfs:engine=userspace --steps 60 --points all
#include <cstdlib>

#include "harness/variant.h"
#include "tests/conformance/test_store.h"
#include "tests/crash/cut_run.h"
#include "tests/support/support.h"

namespace sbench::crash {
namespace {

using test::must;

std::string environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string reason_not_here(const std::string& driver) {
  const auto variant = parse_variant(driver);
  const std::string reason = test::reason_not_here({variant.spec->name, variant.options});
  return reason.empty() && !test::path_exists("/dev/fuse") ? "needs /dev/fuse" : reason;
}

CutRunReport run_in_private(const CutRunOptions& options) {
  test::enter_private_mounts();
  static int serial = 0;
  const std::filesystem::path folder = fmt::format("/mnt/crash-{}", serial++);
  must(make_directories(folder));
  const auto report = must(run_and_cut(options, folder));
  must(remove_tree(folder));
  return report;
}

void run_cuts(CutRunOptions options) {
  const auto report = run_in_private(options);
  std::printf("%s: seed %llu, %zu records, %zu flushes, %zu marks, %s written; %zu cuts, %zu violations\n",
              options.driver.c_str(), static_cast<unsigned long long>(options.seed), report.records, report.flushes,
              report.marks, human_size(static_cast<double>(report.bytes_written)).c_str(), report.cuts,
              report.violations.size());
  EXPECT_GT(report.cuts, 0U);
  for (const auto& violation : report.violations) {
    ADD_FAILURE() << violation;
  }
}

class Cuts : public ::testing::TestWithParam<const char*> {};

TEST_P(Cuts, lose_nothing_that_was_acknowledged) {
  if (const auto reason = reason_not_here(GetParam()); !reason.empty()) {
    GTEST_SKIP() << GetParam() << ": " << reason;
  }
  CutRunOptions options;
  options.driver = GetParam();
  options.steps = 8;
  options.cuts_max = 4;
  run_cuts(options);
}

INSTANTIATE_TEST_SUITE_P(Engines, Cuts,
                         ::testing::Values("zfs:engine=userspace", "devicemapper:engine=userspace",
                                           "overlay2:engine=userspace", "aufs:engine=userspace"),
                         [](const auto& driver) {
                           return std::string(driver.param).substr(0, std::string(driver.param).find(':'));
                         });

TEST(CutsOfALyingDevice, are_found) {
  CutRunOptions options;
  options.driver = "overlay2:engine=userspace";
  if (const auto reason = reason_not_here(options.driver); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  options.flushes_lie = true;
  options.steps = 3;
  options.cuts_max = 2;
  EXPECT_FALSE(run_in_private(options).violations.empty()) << "a device that forgot its flushes lost nothing";
}

/// What tests/crash/cuts runs.
class CutsByHand : public ::testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CutsByHand);

TEST_P(CutsByHand, lose_nothing_that_was_acknowledged) {
  const auto number = [](const char* name, const char* otherwise) {
    return std::strtoull(environment(name, otherwise).c_str(), nullptr, 10);
  };
  CutRunOptions options;
  options.driver = GetParam();
  options.seed = number("SBENCH_TEST_SEED", "20260101");
  options.steps = static_cast<int>(number("SBENCH_CRASH_STEPS", "60"));
  options.only_cut = environment("SBENCH_CRASH_CUT", "");
  options.cuts_max = environment("SBENCH_CRASH_POINTS", "all") == "all" ? 0 : number("SBENCH_CRASH_POINTS", "");
  options.random_points = number("SBENCH_CRASH_RANDOM", "200");
  options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  run_cuts(options);
}

std::vector<std::string> named_by_hand() {
  const std::string driver = environment("SBENCH_CRASH_DRIVER", "");
  return driver.empty() ? std::vector<std::string>() : std::vector<std::string>{driver};
}

INSTANTIATE_TEST_SUITE_P(Named, CutsByHand, ::testing::ValuesIn(named_by_hand()),
                         [](const auto&) { return std::string("driver"); });

}  // namespace
}  // namespace sbench::crash
