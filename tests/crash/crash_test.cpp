// crash_test.cpp: containers at work, the power cut at flushes and between them: nothing acknowledged is lost.
//
// The short form takes a few cuts of a short run on each engine. By hand, every one:
//
//     tests/crash/cuts --driver zfs:engine=userspace --steps 60 --points all
#include <cstdlib>
#include <cstring>
#include <set>

#include "harness/guest/uml.h"
#include "harness/variant.h"
#include "tests/conformance/test_store.h"
#include "tests/crash/cut_run.h"
#include "tests/crash/dm_log.h"
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
  options.steps = 6;
  options.cuts_max = 3;
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

TEST(KernelLog, is_read_as_the_kernel_writes_it) {
  std::string log(512, '\0');
  const auto sector = [&](std::initializer_list<std::uint64_t> numbers, const std::string& text = {}) {
    std::string bytes(512, '\0');
    std::memcpy(bytes.data(), std::data(numbers), numbers.size() * 8);
    std::copy(text.begin(), text.end(), bytes.begin() + 32);
    log += bytes;
  };
  const std::uint64_t super[] = {0x6a736677736872, 1, 6, 512};
  std::memcpy(log.data(), super, sizeof(super));
  sector({8, 2, 0, 0});
  log += std::string(1024, 'w');
  sector({0, 0, 1, 0});
  sector({0, 0, 8, 8}, "try+c1+a");
  sector({16, 4, 4, 0});
  sector({3, 1, 2 + 1, 0});
  log += std::string(512, 'f');
  sector({0, 0, 8, 17}, "dm-log-writes-end");
  const testing::TemporaryFolder folder;
  test::write_file(folder.path() / "log", log);
  const WriteLog read = must(read_dm_log(folder.path() / "log"));
  using enum RecordKind;
  const std::vector<std::tuple<RecordKind, std::uint64_t, std::uint64_t>> due = {
      {write, 4096, 1024}, {flush, 0, 0}, {mark, 0, 0}, {zero, 8192, 2048}, {flush, 0, 0}, {durable_write, 1536, 512}};
  ASSERT_EQ(read.records().size(), due.size());
  for (std::size_t i = 0; i < due.size(); ++i) {
    EXPECT_EQ(std::tuple(read.records()[i].kind, read.records()[i].offset, read.records()[i].length), due[i]) << i;
  }
  EXPECT_EQ(read.records()[2].text(), "try c1 a");
  EXPECT_EQ(read.records()[5].text(), std::string(512, 'f'));
  test::write_file(folder.path() / "short", log.substr(0, 2000));
  EXPECT_EQ(test::code_of(read_dm_log(folder.path() / "short")), EUCLEAN);
}

TEST(ReplayedLog, keeps_what_a_power_loss_may_keep_and_nothing_else) {
  const auto filled = [](char letter, std::size_t bytes = 4096) { return std::string(bytes, letter); };
  WriteLog log;
  const auto write = [&](RecordKind kind, std::uint64_t block, const std::string& text) {
    log.add(kind, block * 4096, text.size(), std::as_bytes(std::span(text)));
  };
  write(RecordKind::write, 0, filled('a', 8192));
  log.add(RecordKind::flush, 0, 0, {});
  write(RecordKind::write, 0, filled('b'));
  log.add(RecordKind::zero, 4096, 4096, {});
  write(RecordKind::durable_write, 2, filled('d'));
  write(RecordKind::write, 3, filled('e'));
  const testing::TemporaryFolder folder;
  const auto after = [&](const Cut& cut) {
    Replay replay = must(Replay::begin(log, folder.path(), 16384, 4096));
    must(replay.make(cut, folder.path() / "cut"));
    return test::read_file(folder.path() / "cut");
  };
  const std::string nothing = filled('\0');
  EXPECT_EQ(after({1, Keeps::nothing, 0}), filled('\0', 16384));
  EXPECT_EQ(after({1, Keeps::everything, 0}), filled('a', 8192) + filled('\0', 8192));
  EXPECT_EQ(after({4, Keeps::nothing, 0}), filled('a', 8192) + filled('\0', 8192));
  EXPECT_EQ(after({6, Keeps::nothing, 0}), filled('a', 8192) + filled('d') + nothing);
  EXPECT_EQ(after({6, Keeps::everything, 0}), filled('b') + nothing + filled('d') + filled('e'));
  std::set<std::string> some;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    some.insert(after({6, Keeps::some, seed}));
  }
  EXPECT_EQ(some.size(), 8U) << "each of three writes is kept or lost";
  for (const auto& image : some) {
    EXPECT_EQ(image.substr(8192, 4096), filled('d'));
  }
}

CutRunOptions options_by_hand(const std::string& driver) {
  const auto number = [](const char* name, const char* otherwise) {
    return std::strtoull(environment(name, otherwise).c_str(), nullptr, 10);
  };
  CutRunOptions options;
  options.driver = driver;
  options.seed = number("SBENCH_TEST_SEED", "20260101");
  options.steps = static_cast<int>(number("SBENCH_CRASH_STEPS", "60"));
  options.only_cut = environment("SBENCH_CRASH_CUT", "");
  options.cuts_max = environment("SBENCH_CRASH_POINTS", "all") == "all" ? 0 : number("SBENCH_CRASH_POINTS", "");
  options.random_points = number("SBENCH_CRASH_RANDOM", "200");
  options.tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  return options;
}

/// Boots user-mode Linux, lets the driver run there on a device that dm-log-writes logs, and checks the cuts: there too
/// where this kernel has no such driver.
void run_in_guest(std::string driver) {
  const auto chosen = parse_variant(driver).options;
  if (chosen.contains("engine") && chosen.at("engine") == "auto") {
    driver += (driver.find(':') == std::string::npos ? ":" : ",") + std::string("engine=kernel");  // here and there
  }
  const testing::TemporaryFolder folder;
  CutRunOptions options = options_by_hand(driver);
  GuestJob job;
  job.disks = {folder.path() / "data", folder.path() / "log"};
  for (const auto& [disk, bytes] : {std::pair{job.disks[0], device_bytes(options)}, {job.disks[1], 8 * kGiB}}) {
    test::write_file(disk, "");
    std::filesystem::resize_file(disk, bytes);
  }
  const bool check_here = reason_not_here(driver).empty();
  job.init = SBENCH_BINARY;
  job.argv = {std::filesystem::read_symlink("/proc/self/exe"), "--gtest_filter=*CutsByHand*", "--gtest_brief=1"};
  job.environment["SBENCH_CRASH_DRIVER"] = driver;
  for (const char* name :
       {"SBENCH_TEST_SEED", "SBENCH_CRASH_STEPS", "SBENCH_CRASH_CUT", "SBENCH_CRASH_POINTS", "SBENCH_CRASH_RANDOM"}) {
    job.environment[name] = environment(name, "");
  }
  job.environment["DM_DISABLE_UDEV"] = "1";
  job.environment["SBENCH_CRASH_IN"] = check_here ? "guest" : "guest alone";
  job.memory_bytes = 2 * kGiB;
  add_uml_modules(job);
  job.modules.push_back("/usr/lib/uml/modules/" + uml_release() + "/kernel/drivers/md/dm-log-writes.ko");
  job.visible.push_back(SBENCH_SOURCE_DIR);
  const auto show = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); };
  EXPECT_EQ(must(run_in_uml(job, {show, show})), 0);
  if (check_here && !::testing::Test::HasFailure()) {
    options.kernel_log = job.disks[1];
    run_cuts(options);
  }
}

/// What tests/crash/cuts runs.
class CutsByHand : public ::testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CutsByHand);

TEST_P(CutsByHand, lose_nothing_that_was_acknowledged) {
  const std::string where = environment("SBENCH_CRASH_IN", "host");
  CutRunOptions options = options_by_hand(GetParam());
  if (where == "uml") {
    run_in_guest(GetParam());
    return;
  }
  if (where.starts_with("guest")) {
    test::enter_private_mounts();
    must(make_directories("/mnt/record"));
    must(record_by_kernel(options, "/mnt/record", "/dev/ubda", "/dev/ubdb"));
    options.kernel_log = "/dev/ubdb";
  }
  if (where != "guest") {
    run_cuts(options);
  }
}

std::vector<std::string> named_by_hand() {
  const std::string driver = environment("SBENCH_CRASH_DRIVER", "");
  return driver.empty() ? std::vector<std::string>() : std::vector<std::string>{driver};
}

INSTANTIATE_TEST_SUITE_P(Named, CutsByHand, ::testing::ValuesIn(named_by_hand()),
                         [](const auto&) { return std::string("driver"); });

}  // namespace
}  // namespace sbench::crash
