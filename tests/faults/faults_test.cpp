// The fault campaign's short form, and its own parts: the device that breaks, the look at results.
//
// The long form: sbench soak --kills 1000 --faults 500 (docs/soak.md).
#include <gtest/gtest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/block/device.h"
#include "drivers/block/direct_device.h"
#include "harness/soak/campaign.h"
#include "harness/soak/faulty_file.h"
#include "harness/soak/plan.h"
#include "harness/soak/processes.h"
#include "harness/soak/results.h"
#include "tests/support/must.h"
#include "tests/support/support.h"

namespace sbench::soak {
namespace {

using test::must;

#define SBENCH_SKIP_UNLESS_SERVING()                                                              \
  if (!sbench::testing::is_root() || ::access("/dev/fuse", R_OK | W_OK) != 0) {                   \
    GTEST_SKIP() << "needs root and /dev/fuse for a device that breaks";                          \
  }

TEST(Soak, kills_and_faults_leave_nothing_and_change_no_number) {
  SBENCH_SKIP_UNLESS_SERVING();
  const sbench::testing::TemporaryFolder folder;
  const char* chosen = std::getenv("SBENCH_TEST_SEED");
  const auto record = folder.path() / "soak.json";
  // LeakSanitizer waits for ever for a helper of its own that somebody kills.
  const auto output = must(run_program({"env", "ASAN_OPTIONS=detect_leaks=0", SBENCH_BINARY, "soak", "--kills", "2", "--faults", "1", "--seed",
                                        chosen != nullptr ? chosen : "20", "--driver", "vfs", "-o", record.string()}));
  EXPECT_EQ(output.exit_code, 0) << output.stderr_text;
  const auto found = nlohmann::json::parse(must(read_text(record)));
  EXPECT_GE(found.at("kills"), 2);
  EXPECT_GE(found.at("faults"), 1);
  EXPECT_TRUE(found.at("findings").empty()) << found.at("findings").dump(1);
}

TEST(Soak, a_killed_one_leaves_no_folder) {
  SBENCH_SKIP_UNLESS_SERVING();
  const sbench::testing::TemporaryFolder folder;
  const auto work = folder.path() / "work";
  std::filesystem::create_directories(work);
  auto soak = must(Child::start({SBENCH_BINARY, "soak", "--hours", "1", "--seed", "1", "--driver", "vfs", "--work", work.string()},
                                folder.path() / "out", folder.path() / "err"));
  const auto within = [](int seconds, const std::function<bool()>& condition) {
    for (int tries = 0; tries < seconds * 100 && !condition(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return condition();
  };
  const auto in_a_case = [&] {
    for (const auto& each : std::filesystem::directory_iterator(work)) {
      if (std::filesystem::exists(each.path() / "undisturbed") || std::filesystem::exists(each.path() / "case-0")) {
        return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(within(60, in_a_case));
  ::kill(soak.pid(), SIGKILL);
  EXPECT_TRUE(within(60, [&] { return std::filesystem::is_empty(work); }));
  Ended how;
  EXPECT_TRUE(within(10, [&] { return soak.ended(how); }));
}

TEST(Soak, memory_is_flat_when_later_quarters_agree_whatever_a_moment_takes) {
  std::vector<std::pair<double, long>> points;
  for (int i = 0; i < 1000; ++i) {
    points.emplace_back(i, i < 200 ? 5000 + i : 5200);
  }
  EXPECT_TRUE(judge_memory({points.begin(), points.begin() + 500}).at("flat").is_null());
  points[700].second = 900'000;
  EXPECT_EQ(judge_memory(points).at("flat"), true);
  for (int i = 0; i < 1000; ++i) {
    points[i].second += i;
  }
  EXPECT_EQ(judge_memory(points).at("growth_kib"), 500);
  EXPECT_EQ(judge_memory(points).at("flat"), false);
}

class BreakingDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    SBENCH_SKIP_UNLESS_SERVING();
    sbench::testing::enter_private_namespace();
    device = must(FaultyDevice::make(folder.path(), 64 * kMiB));
    io = must(DirectDevice::open(device->path()));
  }
  Status write(std::uint64_t offset) { return io->write(offset, block); }
  Status read(std::uint64_t offset) { return io->read(offset, block); }

  sbench::testing::TemporaryFolder folder;
  std::unique_ptr<FaultyDevice> device;
  std::unique_ptr<DirectDevice> io;
  std::vector<std::byte> block = std::vector<std::byte>(4096, std::byte{7});
};

TEST_F(BreakingDevice, chosen_sectors_fail_and_others_do_not) {
  auto& switches = device->switches();
  switches.from = kMiB;
  switches.until = 2 * kMiB;
  switches.write_errno = EIO;
  EXPECT_TRUE(write(0).ok());
  EXPECT_EQ(test::code_of(write(kMiB)), EIO);
  EXPECT_TRUE(write(2 * kMiB).ok());
  EXPECT_EQ(switches.hits, switches.write_hits);
  device->heal();
  EXPECT_TRUE(write(kMiB).ok());
  switches.read_errno = EIO;
  EXPECT_EQ(test::code_of(read(kMiB)), EIO);
}

TEST_F(BreakingDevice, a_full_one_takes_what_was_written_before_and_no_more) {
  must(write(0));
  device->switches().room_bytes = 0;
  EXPECT_TRUE(write(0).ok());
  EXPECT_EQ(test::code_of(write(8 * kMiB)), ENOSPC);
  device->heal();
  EXPECT_TRUE(write(8 * kMiB).ok());
  must(io->discard(0, kMiB));
  device->switches().room_bytes = 0;
  EXPECT_EQ(test::code_of(write(0)), ENOSPC);
}

TEST_F(BreakingDevice, a_flush_fails_alone) {
  must(write(0));
  device->switches().flush_errno = EIO;
  EXPECT_TRUE(write(0).ok());
  EXPECT_EQ(test::code_of(io->flush()), EIO);
  device->heal();
  EXPECT_TRUE(io->flush().ok());
}

TEST_F(BreakingDevice, a_lost_write_of_an_earlier_user_is_not_told_to_the_next) {
  const auto sync_as_the_next = [&] {
    const Fd fd = must(open_file(device->path(), O_RDWR));
    return ::fsync(fd.get());
  };
  const auto lose_a_write = [&] {  // in the cache, and on its way to the device; nobody calls fsync(2)
    device->switches().write_errno = EIO;
    const Fd fd = must(open_file(device->path(), O_RDWR));
    must(write_all(fd.get(), "lost", "the device"));
    static_cast<void>(read(0));  // past the cache: waits until it is written, or not
    device->heal();
  };
  lose_a_write();
  ASSERT_NE(sync_as_the_next(), 0) << "the kernel no longer tells it: then this test shows nothing";
  lose_a_write();
  io.reset();
  must(must(Device::open_real(device->path()))->discard_all());
  EXPECT_EQ(sync_as_the_next(), 0);
}

TEST(LoopDevice, what_an_earlier_image_was_told_does_not_make_it_read_only) {
  if (!sbench::testing::is_root()) {
    GTEST_SKIP() << "needs root for loop devices";
  }
  const sbench::testing::TemporaryFolder folder;
  std::string first;
  for (int tries = 0; tries < 20; ++tries) {  // another process may take the number
    const auto device = must(Device::make_image(folder.path(), 16 * kMiB));
    const Fd fd = must(open_file(device->path(), O_RDWR));
    const auto io = must(DirectDevice::open(device->path()));
    EXPECT_TRUE(io->write(0, std::vector<std::byte>(4096)).ok());
    if (device->path() == first) {
      return;
    }
    first = device->path();
    int read_only = 1;
    ASSERT_EQ(::ioctl(fd.get(), BLKROSET, &read_only), 0);
  }
  GTEST_SKIP() << "no loop device came twice";
}

TEST(Results, a_torn_line_is_no_damage_and_a_broken_one_is) {
  const sbench::testing::TemporaryFolder folder;
  EXPECT_FALSE(must(read_run(folder.path())).started);
  const std::string header = R"({"type":"header","value":{}})";
  std::ofstream(folder.path() / "run.jsonl") << header << "\n" << R"({"type":"sam)";
  EXPECT_TRUE(must(read_run(folder.path())).started);
  std::ofstream(folder.path() / "run.jsonl") << header << "\n" << R"({"type":"sam)" << "\n" << header << "\n";
  EXPECT_FALSE(read_run(folder.path()).ok());
}

TEST(Results, another_count_of_bytes_is_another_number_and_another_time_is_not) {
  auto sample = nlohmann::json::parse(R"({"real_time": 1, "label": "warm,none", "iterations": 1,
    "sbench": {"params": {}, "driver": "d", "engine": "kernel", "workload": "w",
    "metrics": {"bytes_app_written": 5, "bytes_app_read": 0, "cpu_sys_s": 1}, "latency": {},
    "phases": {"work": {"seconds": 1, "count": 2, "timed": true}}}})");
  const auto before = exact_part(sample);
  sample["real_time"] = 2;
  sample["sbench"]["phases"]["work"]["seconds"] = 9;
  EXPECT_EQ(exact_part(sample), before);
  sample["sbench"]["metrics"]["bytes_app_written"] = 6;
  EXPECT_NE(exact_part(sample), before);
}

TEST(Results, a_sample_that_contradicts_itself_is_found) {
  const auto sample = nlohmann::json::parse(R"({"real_time": 1500, "sbench": {"metrics": {"cpu_sys_s": 1}, "latency": {"op":
    {"buckets": {"counts": [[7, 1], [9, 2]]}, "count": 3, "min": 1, "max": 5, "sum": 9}},
    "phases": {"work": {"seconds": 1, "timed": true}, "sync": {"seconds": 0.5, "timed": true},
               "more": {"seconds": 7, "timed": false}}}})");
  EXPECT_EQ(contradiction_in(sample), "");
  for (const auto& [path, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"/real_time", 1501},
           {"/sbench/phases/more/seconds", -1},
           {"/sbench/metrics/cpu_sys_s", nullptr},
           {"/sbench/latency/op/count", 4},
           {"/sbench/latency/op/max", 2}}) {
    auto wrong = sample;
    wrong[nlohmann::json::json_pointer(path)] = value;
    EXPECT_NE(contradiction_in(wrong), "") << path;
  }
}

TEST(Plan, one_seed_draws_the_same_cases_and_every_kind_comes) {
  std::set<Fault> kinds;
  Rng first(5);
  Rng second(5);
  for (std::uint64_t number = 0; number < 300; ++number) {
    const SoakCase a = draw_case(number, "vfs", number % 2 == 0, first);
    const SoakCase b = draw_case(number, "vfs", number % 2 == 0, second);
    EXPECT_EQ(a.fault, b.fault);
    EXPECT_EQ(a.moment, b.moment);
    EXPECT_EQ(is_kill(a.fault), number % 2 == 0);
    kinds.insert(a.fault);
  }
  EXPECT_EQ(kinds.size(), static_cast<std::size_t>(std::count_if(kFaults.begin(), kFaults.end(), can_do)));
}

}  // namespace
}  // namespace sbench::soak
