// harness_files_test.cpp: the power cut while sbench itself writes results: each recorded sample is there when the
// run is taken up again, and result.json is one that was finished.
#include <sys/mount.h>

#include <charconv>

#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "harness/recorder.h"
#include "tests/conformance/test_store.h"
#include "tests/crash/recorded_device.h"
#include "tests/crash/replay.h"
#include "tests/support/support.h"

namespace sbench::crash {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::must;

constexpr std::uint64_t kDeviceBytes = 16 * kMiB;
constexpr int kSamples = 6;
constexpr std::uint64_t kSeed = 7;

json header() {
  return {{"context", {{"json_schema_version", 1}}},
          {"request", json::object()},
          {"sbench", {{"drivers", json::array()}, {"environment", {{"identity", {{"machine", "m-1"}}}}}}}};
}

/// Lines longer than a page, so that one can be torn.
json entry(int block) {
  return {{"name", "w/native"},
          {"real_time", 1.0},
          {"text", std::string(6000, 'x')},
          {"sbench", {{"block", block}}}};
}

class Mounted {
 public:
  Mounted(const Device& device, const fs::path& at) : at_(at) {
    must(make_directories(at));
    EXPECT_EQ(::mount(device.path().c_str(), at.c_str(), "ext4", 0, nullptr), 0) << std::strerror(errno);
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  ~Mounted() { EXPECT_EQ(::umount(at_.c_str()), 0) << std::strerror(errno); }

 private:
  fs::path at_;
};

/// The log of a run of kSamples samples, each of which is acknowledged by a mark, in a folder that was not there.
WriteLog record_run(const fs::path& folder) {
  const auto recorded = must(RecordedDevice::make(folder, kDeviceBytes));
  must(run_checked({"mkfs.ext4", "-q", "-F", "-m", "0", recorded->device().path()}));
  {
    const Mounted mounted(recorded->device(), folder / "mnt");
    must(recorded->mark("begun"));
    const auto recorder = must(Recorder::create(folder / "mnt/results/night", header()));
    for (int block = 0; block < kSamples; ++block) {
      must(recorded->mark(fmt::format("samples {}", block)));
      must(recorder->add_sample(entry(block)));
      if (block % 2 == 1) {
        must(recorder->assemble(block + 1, false));
        must(recorded->mark(fmt::format("result {}", block + 1)));
      }
    }
    must(recorded->mark(fmt::format("samples {}", kSamples)));
  }
  must(recorded->finish());
  return must(WriteLog::read(recorded->log()));
}

/// The number after `word` in the last such mark before `at`; -1: none.
int last_mark(const WriteLog& log, std::size_t at, std::string_view word) {
  int number = -1;
  for (std::size_t i = 0; i < at; ++i) {
    const auto& record = log.records()[i];
    if (record.kind == RecordKind::mark && record.text().starts_with(word)) {
      const std::string_view digits = record.text().substr(word.size());
      std::from_chars(digits.data(), digits.data() + digits.size(), number);
    }
  }
  return number;
}

void expect_kept(const WriteLog& log, const Cut& cut, const fs::path& results) {
  const int samples = last_mark(log, cut.at, "samples ");
  const int in_result = last_mark(log, cut.at, "result ");
  const auto resumed = Recorder::resume(results);
  if (samples >= 0) {
    ASSERT_TRUE(resumed.ok()) << cut.text() << ": " << resumed.error().what;
    for (int block = 0; block < samples; ++block) {
      EXPECT_TRUE((*resumed)->has_sample("w/native", block)) << cut.text() << ": block " << block;
    }
  }
  const auto text = read_text(results / "result.json");
  EXPECT_TRUE(text.ok() || in_result < 0) << cut.text() << ": result.json is gone";
  if (text.ok()) {
    const json result = json::parse(*text, nullptr, false);
    ASSERT_FALSE(result.is_discarded()) << cut.text() << ": result.json is torn";
    EXPECT_GE(static_cast<int>(result.at("benchmarks").size()), in_result) << cut.text();
  }
}

TEST(HarnessFiles, keep_every_sample_that_was_recorded) {
  const std::string reason = test::reason_not_here({"vfs", {}});
  if (!reason.empty() || !test::path_exists("/dev/fuse")) {
    GTEST_SKIP() << (reason.empty() ? "needs /dev/fuse" : reason);
  }
  test::enter_private_mounts();
  const fs::path folder = "/mnt/harness-files";
  must(make_directories(folder));
  const WriteLog log = record_run(folder);
  const auto cuts = thin_out(choose_cuts(log, log.find_mark("begun"), 8, kSeed), 16);
  ASSERT_FALSE(cuts.empty());
  Replay replay = must(Replay::begin(log, folder, kDeviceBytes, 4096));
  for (const Cut& cut : cuts) {
    must(replay.make(cut, folder / "cut"));
    const auto device = must(Device::attach_image(folder / "cut"));
    const Mounted mounted(*device, folder / "mnt");
    expect_kept(log, cut, folder / "mnt/results/night");
  }
}

}  // namespace
}  // namespace sbench::crash
