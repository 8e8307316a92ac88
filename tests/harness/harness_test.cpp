// The harness' parts that need no device: histogram, variants, plan, timing shell, recorder, progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <regex>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "harness/histogram.h"
#include "harness/live_case.h"
#include "harness/plan.h"
#include "harness/progress.h"
#include "harness/recorder.h"
#include "harness/runner.h"
#include "harness/timing_shell.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

using ::testing::HasSubstr;

TEST(HistogramTest, buckets_are_ordered_and_within_one_part_in_128) {
  Rng rng(11);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t value = rng.next() >> rng.below(64);
    const std::uint32_t bucket = Histogram::bucket_of(value);
    const std::uint64_t low = Histogram::lower_edge(bucket);
    const std::uint64_t next = Histogram::lower_edge(bucket + 1);
    ASSERT_LE(low, value);
    if (next > low) {  // the last bucket's upper edge overflows
      ASSERT_LT(value, next);
      ASSERT_LE(next - low, std::max<std::uint64_t>(1, low / 128));
    }
    ASSERT_EQ(Histogram::bucket_of(low), bucket);
  }
}

TEST(HistogramTest, counts_and_extremes_are_kept) {
  Histogram histogram;
  for (const std::uint64_t value : {5u, 5u, 1000u, 70000u}) {
    histogram.add(value);
  }
  EXPECT_EQ(histogram.count(), 4u);
  EXPECT_EQ(histogram.min(), 5u);
  EXPECT_EQ(histogram.max(), 70000u);
  EXPECT_EQ(histogram.sum(), 71010u);
  const auto sparse = histogram.sparse();
  ASSERT_EQ(sparse.size(), 3u);
  EXPECT_EQ(sparse[0], (std::pair<std::uint32_t, std::uint64_t>{5, 2}));
}

TEST(VariantTest, options_shape_label_and_slug) {
  const Variant plain = parse_variant("overlay2");
  EXPECT_EQ(plain.slug, "overlay2");
  const Variant xfs = parse_variant("overlay2:backing=xfs,metacopy=on");
  EXPECT_EQ(xfs.slug, "overlay2.backing-xfs.metacopy-on");
  EXPECT_EQ(xfs.label, "overlay2:backing=xfs,metacopy=on");
  EXPECT_EQ(parse_variant("overlay2:backing=ext4").slug, "overlay2") << "a default is not a variant";
}

TEST(VariantTest, storage_options_apply_to_their_driver_only) {
  EXPECT_EQ(parse_variant("overlay2", {"overlay2.backing=xfs"}).slug, "overlay2.backing-xfs");
  EXPECT_EQ(parse_variant("vfs", {"overlay2.backing=xfs"}).slug, "vfs");
  EXPECT_EQ(parse_variant("overlay2:backing=btrfs", {"overlay2.backing=xfs"}).slug, "overlay2.backing-btrfs");
}

TEST(VariantTest, mistakes_say_what_is_known) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      static_cast<void>(parse_variant(text));
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message("overlay3"), HasSubstr("known drivers: native, overlay2"));
  EXPECT_THAT(message("overlay2:colour=red"), HasSubstr("no option 'colour'"));
  EXPECT_THAT(message("overlay2:backing=fat"), HasSubstr("allowed: ext4"));
  EXPECT_THAT(message("overlay2:backing"), HasSubstr("name=value"));
  EXPECT_THROW(check_storage_opts({"nodots"}), UsageError);
  EXPECT_THROW(check_storage_opts({"overlay9.backing=xfs"}), UsageError);
}

TEST(PlanTest, the_control_and_the_overhead_driver_join_every_run) {
  RunRequest request;
  request.drivers = {"overlay2"};
  request.profile = "smoke";
  const Plan plan = make_plan(request);
  std::vector<std::string> slugs;
  for (const auto& planned : plan.variants) {
    slugs.push_back(planned.variant.slug);
  }
  for (const auto& skip : plan.skips) {
    slugs.push_back(skip.variant.slug);
  }
  EXPECT_THAT(slugs, ::testing::UnorderedElementsAre("native", "null", "overlay2"));
}

TEST(PlanTest, case_names_follow_the_grammar_and_are_unique) {
  for (const char* profile : {"smoke", "quick", "standard", "full"}) {
    RunRequest request;
    request.profile = profile;
    request.all = true;
    std::set<std::string> names;
    const std::regex grammar("[a-z0-9._-]+/[a-z0-9._-]+(/[a-z0-9_]+:[a-z0-9._-]+)*");
    for (const auto& planned : make_plan(request).variants) {
      for (const auto& each : planned.cases) {
        const std::string name = each.name(planned.variant);
        EXPECT_TRUE(std::regex_match(name, grammar)) << name;
        EXPECT_TRUE(names.insert(name).second) << name;
      }
    }
  }
}

TEST(PlanTest, unknown_names_are_usage_errors) {
  RunRequest request;
  request.profile = "slow";
  EXPECT_THROW(static_cast<void>(make_plan(request)), UsageError);
  request = {};
  request.workloads = {"copy_down"};
  EXPECT_THROW(static_cast<void>(make_plan(request)), UsageError);
  request = {};
  request.filter = "(";
  EXPECT_THROW(static_cast<void>(make_plan(request)), UsageError);
}

TEST(TimingShellTest, the_manual_time_comes_back_and_errors_do_not_stop_the_next_one) {
  for (int round = 0; round < 3; ++round) {
    const auto failed = time_once("a/b", [](double&) -> Status { return plain_error(EIO, "as told"); });
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().what, "as told");
    const auto timed = time_once("a/b/c:1", [](double& real_s) {
      real_s = 0.125;
      return Status();
    });
    ASSERT_TRUE(timed.ok()) << timed.error().what;
    EXPECT_DOUBLE_EQ(timed->real_s, 0.125);
  }
}

nlohmann::json tiny_header() {
  return {{"context", {{"json_schema_version", 1}}},
          {"request", request_json({})},
          {"sbench", {{"drivers", {{{"slug", "native"}}}}, {"environment", {{"identity", {{"machine", "m-1"}}}}}}}};
}

nlohmann::json tiny_entry(const std::string& name, int block) {
  return {{"name", name}, {"real_time", 1.0}, {"sbench", {{"block", block}}}};
}

TEST(Environment, what_disturbed_a_run_is_told_from_counters_that_went_on) {
  const auto during = disturbance_since({{"cpu_ticks", {{"all", 0}, {"stolen", 0}}}});
  ASSERT_TRUE(during.contains("steal_percent"));
  EXPECT_GE(during.at("steal_percent").get<double>(), 0);
  EXPECT_LE(during.at("steal_percent").get<double>(), 100);
  EXPECT_TRUE(disturbance_since({{"cpu_ticks", {{"all", 1e18}, {"stolen", 0}}}}).empty()) << "counters of another boot";
  EXPECT_TRUE(disturbance_since(nlohmann::json::object()).empty()) << "a result of an older sbench";
}

TEST(RecorderTest, a_torn_last_line_is_dropped_and_the_rest_is_taken_up) {
  const testing::TemporaryFolder folder;
  const auto directory = folder.path() / "run";
  {
    auto recorder = Recorder::create(directory, tiny_header());
    ASSERT_TRUE(recorder.ok()) << recorder.error().what;
    ASSERT_TRUE((*recorder)->add_sample(tiny_entry("w/native", 0)).ok());
    ASSERT_TRUE((*recorder)->add_sample(tiny_entry("w/native", 1)).ok());
  }
  std::ofstream(directory / "run.jsonl", std::ios::app) << R"({"type":"sample","value":{"name":"w/nat)";
  ASSERT_TRUE(Recorder::resume(directory).ok());
  std::ofstream(directory / "run.jsonl", std::ios::app) << std::string(100, '\0') << "e/b\"}}\n";  // its first block lost
  auto resumed = Recorder::resume(directory);
  ASSERT_TRUE(resumed.ok()) << resumed.error().what;
  EXPECT_TRUE((*resumed)->has_sample("w/native", 1));
  EXPECT_FALSE((*resumed)->has_sample("w/native", 2));
  ASSERT_TRUE((*resumed)->add_sample(tiny_entry("w/native", 2)).ok());
  ASSERT_TRUE((*resumed)->assemble(3, true).ok());
  const auto result = nlohmann::json::parse(*read_text(directory / "result.json"));
  EXPECT_EQ(result["benchmarks"].size(), 3u);
  EXPECT_EQ(result["benchmarks"][0]["repetitions"], 3);
  EXPECT_EQ(result["sbench"]["series"].size(), 1u);
  EXPECT_TRUE(result["sbench"]["complete"]);
}

TEST(RecorderTest, a_case_that_cannot_run_is_listed_once_also_after_a_resume) {
  const testing::TemporaryFolder folder;
  const auto directory = folder.path() / "out";
  const nlohmann::json skip = {{"driver", "overlay2"},
                               {"cell", "peers.graphtest/overlay2/bench:diff-125-layers/scale:1"},
                               {"code", "cannot_run_here"},
                               {"detail", "too deep"},
                               {"remedy", "another driver"}};
  {
    auto recorder = Recorder::create(directory, tiny_header());
    ASSERT_TRUE(recorder.ok());
    ASSERT_TRUE((*recorder)->add_skip(skip).ok());
    ASSERT_TRUE((*recorder)->add_skip(skip).ok());  // the next block's turn
  }
  auto resumed = Recorder::resume(directory);
  ASSERT_TRUE(resumed.ok());
  ASSERT_TRUE((*resumed)->add_skip(skip).ok());
  ASSERT_TRUE((*resumed)->assemble(1, true).ok());
  const auto document = nlohmann::json::parse(*read_text((*resumed)->result_path()));
  EXPECT_EQ(document.at("sbench").at("skips"), nlohmann::json::array({skip}));
  EXPECT_EQ((*resumed)->failures(), 0u);
}

TEST(RecorderTest, damage_in_the_middle_is_named_and_existing_results_are_safe) {
  const testing::TemporaryFolder folder;
  const auto directory = folder.path() / "run";
  ASSERT_TRUE(Recorder::create(directory, tiny_header()).ok());
  EXPECT_EQ(Recorder::create(directory, tiny_header()).error().code, EEXIST);
  std::ofstream(directory / "run.jsonl", std::ios::app) << "garbage\n{}\n";
  const auto resumed = Recorder::resume(directory);
  ASSERT_FALSE(resumed.ok());
  EXPECT_THAT(resumed.error().what, HasSubstr("damaged"));
  EXPECT_EQ(Recorder::resume(folder.path() / "nothing").error().code, ENOENT);
}

TEST(RunnerTest, a_request_survives_json) {
  RunRequest request;
  request.drivers = {"overlay2:backing=xfs", "vfs"};
  request.filter = "copy_up";
  request.seed = 42;
  request.budget_s = 600;
  request.inject = "build=slow:20%";
  const RunRequest back = request_from_json(request_json(request));
  EXPECT_EQ(request_json(back), request_json(request));
}

TEST(InjectionTest, a_text_names_cases_and_an_amount) {
  EXPECT_FALSE(Injection::parse("").has_value());
  const auto slow = Injection::parse("build/overlay2/image:small=slow:20%");
  ASSERT_TRUE(slow.has_value());
  EXPECT_TRUE(slow->hits("layer_build.build/overlay2/image:small"));
  EXPECT_FALSE(slow->hits("layer_build.build/native/image:small"));
  for (const char* bad :
       {"build", "=slow:20%", "build=slow:20", "build=slow:-1%", "build=write:1", "build=leap:3%", "(=slow:3%"}) {
    EXPECT_THROW(static_cast<void>(Injection::parse(bad)), UsageError) << bad;
  }
}

TEST(InjectionTest, it_waits_its_share_and_writes_without_leaving_a_file) {
  const auto started = std::chrono::steady_clock::now();
  Injection::parse("x=slow:50%")->slow_down(0.04);
  EXPECT_GE(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(20));
  const testing::TemporaryFolder folder;
  ASSERT_TRUE(Injection::parse("x=write:1400K")->write(folder.path()).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_FALSE(Injection::parse("x=write:1400K")->write(folder.path() / "missing").ok());
}

TEST(LiveCaseTest, short_operations_are_executed_fifteen_times_or_for_fifty_milliseconds) {
  const auto made = [](double first_s, double next_s) {
    return executions(first_s, [&]() -> Result<double> { return next_s; })->size();
  };
  EXPECT_EQ(made(0.001, 0.001), 15u);
  EXPECT_EQ(made(0.030, 0.012), 3u);
  EXPECT_EQ(made(0.060, 0.001), 1u);
  EXPECT_FALSE(executions(0.001, []() -> Result<double> { return plain_error(EIO, "broken"); }).ok());
}

TEST(LiveCaseTest, a_repeatable_operation_is_one_stretch_of_its_median) {
  if (!testing::is_root()) {
    GTEST_SKIP() << "needs root for a loop device";
  }
  const testing::TemporaryFolder folder;
  auto device = Device::make_image(folder.path(), 64 * kMiB);
  ASSERT_TRUE(device.ok()) << device.error().what;
  const Variant variant = parse_variant("null", {});
  ASSERT_TRUE(variant.spec->format(**device, variant.options).ok());
  auto store = Store::open(**device, variant, folder.path());
  ASSERT_TRUE(store.ok()) << store.error().what;
  const Params params;
  LiveCase live(**store, params, 1, 1, nullptr);
  ASSERT_TRUE(live.begin().ok());
  int runs = 0;
  ASSERT_TRUE(live.timed_median("long",
                                [&]() -> Status {
                                  ++runs;
                                  std::this_thread::sleep_for(std::chrono::milliseconds(60));
                                  return {};
                                })
                  .ok());
  EXPECT_EQ(runs, 1);
  const double long_s = live.sample().real_s;
  EXPECT_GE(long_s, 0.06);
  ASSERT_TRUE(live.timed_median("short", [&]() -> Status { return ++runs, Status(); }).ok());
  const auto& phase = live.sample().phases.back().second;
  EXPECT_EQ(phase.count, 1u);
  EXPECT_TRUE(phase.timed);
  EXPECT_NEAR(long_s + phase.seconds, live.sample().real_s, 1e-9);
  EXPECT_FALSE(live.timed_median("broken", [&]() -> Status { return plain_error(EIO, "broken"); }).ok());
}

TEST(ProgressTest, plain_lines_carry_counts_and_json_lines_parse) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Console console{in, out, err};
  Progress plain(console, ProgressStyle::plain, 4, 2);
  plain.sample_done(0, "w/native", 0.0418, 1.0, Progress::Outcome::measured);
  EXPECT_THAT(err.str(), HasSubstr("[1/4] block 1/2 w/native 41.8 ms (ETA 3.00 s)"));
  plain.sample_done(0, "w/vfs", 0, 1.0, Progress::Outcome::skipped);
  EXPECT_THAT(err.str(), HasSubstr("[2/4] block 1/2 w/vfs skipped"));
  err.str("");
  Progress lines(console, ProgressStyle::json, 4, 2);
  lines.sample_done(0, "w/native", 0.5, 1.0, Progress::Outcome::failed);
  lines.message("hello");
  std::istringstream produced(err.str());
  std::string line;
  while (std::getline(produced, line)) {
    EXPECT_FALSE(nlohmann::json::parse(line, nullptr, false).is_discarded()) << line;
  }
  EXPECT_TRUE(out.str().empty());
  EXPECT_THROW(static_cast<void>(parse_progress("loud", false)), UsageError);
}

}  // namespace
}  // namespace sbench
