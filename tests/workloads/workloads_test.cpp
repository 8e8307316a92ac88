// Every registered workload, run with smoke parameters on real stores, and its verification put to the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/workloads/fake_case.h"
#include "tests/workloads/lossy_driver.h"
#include "workloads/content/scaled.h"

namespace sbench {
namespace {

using testing::FakeCase;
using testing::FakeStore;

const WorkloadSpec& find_workload(const std::string& name) {
  for (const auto& spec : workload_registry()) {
    if (spec.name == name) {
      return spec;
    }
  }
  ADD_FAILURE() << "no workload " << name;
  return workload_registry().front();
}

std::string text_of(const Params& params) {
  std::string text;
  for (const auto& [name, value] : params.items()) {
    text += fmt::format("{}:{} ", name, value);
  }
  return text;
}

TEST(WorkloadRegistry, HoldsEveryWorkloadOnceInOrderOfName) {
  std::vector<std::string> names;
  for (const auto& spec : workload_registry()) {
    names.push_back(spec.name);
  }
  const std::vector<std::string> expected = {"cache_reuse.containers", "cache_reuse.rebuild", "cache_reuse.two_apps",
                                             "copy_up.chown_tree",     "copy_up.first_write", "copy_up.rename_dir",
                                             "copy_up.tree_append",    "copy_up.triggers",    "harness.overhead",
                                             "layer_build.build",      "layer_build.depth",   "layer_build.diff",
                                             "layer_build.pull",       "layer_build.remove",
                                             "peers.benchsuite",       "peers.graphtest",     "peers.idle_container",
                                             "peers.move_tree",        "peers.neighbour",     "peers.storage_tasks",
                                             "scale.containers",       "scale.dirty_start",   "scale.layers"};
  for (const auto& name : expected) {
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST(WorkloadRegistry, EveryWorkloadDeclaresWhatItNeedsToBeReadable) {
  for (const auto& spec : workload_registry()) {
    SCOPED_TRACE(spec.name);
    EXPECT_FALSE(spec.summary.empty());
    EXPECT_NE(spec.run, nullptr);
    EXPECT_TRUE(spec.durability == "none" || spec.durability == "fsync-per-op" || spec.durability == "sync-at-end");
    bool cache_is_param = false;
    for (const auto& param : spec.params) {
      cache_is_param = cache_is_param || param.name == spec.cache;
      EXPECT_FALSE(param.summary.empty());
    }
    EXPECT_TRUE(spec.cache == "cold" || spec.cache == "warm" || cache_is_param);
    for (const auto profile : {Profile::smoke, Profile::standard, Profile::full}) {  // quick leaves some out
      EXPECT_FALSE(expand_params(spec, profile).empty());
    }
  }
}

TEST(ExpandParams, GivesTheCrossProductOfAProfileInOrder) {
  WorkloadSpec spec;
  spec.params = {{"a", "", {{{"1"}, {"1", "2"}, {}, {}}}}, {"b", "", {{{"x"}, {"x", "y"}, {}, {}}}}};
  const auto text = [&](Profile profile) {
    std::string all;
    for (const auto& params : expand_params(spec, profile)) {
      all += text_of(params) + "| ";
    }
    return all;
  };
  EXPECT_EQ(text(Profile::smoke), "a:1 b:x | ");
  EXPECT_EQ(text(Profile::quick), "a:1 b:x | a:1 b:y | a:2 b:x | a:2 b:y | ");
  spec.keep = [](const Params& params, Profile profile) {
    return profile != Profile::quick || params.number("a") != 2 || params.text("b") != "x";
  };
  EXPECT_EQ(text(Profile::quick), "a:1 b:x | a:1 b:y | a:2 b:y | ");
}

TEST(ExpandParams, KeepsTheQuickGridSmallAndChownsA64MiBFile) {
  const auto quick = expand_params(find_workload("copy_up.triggers"), Profile::quick);
  EXPECT_EQ(quick.size(), 12u);
  const auto chowns_64m = [](const Params& p) { return p.text("op") == "chown" && p.text("size") == "64M"; };
  EXPECT_EQ(std::count_if(quick.begin(), quick.end(), chowns_64m), 1);
  EXPECT_EQ(expand_params(find_workload("copy_up.triggers"), Profile::full).size(), 22u);
}

struct OnDriver {
  std::string driver;
  std::string workload;
};

void PrintTo(const OnDriver& param, std::ostream* out) { *out << param.workload << " on " << param.driver; }

std::vector<OnDriver> all_pairs(const std::vector<std::string>& drivers) {
  std::vector<OnDriver> pairs;
  for (const auto& driver : drivers) {
    for (const auto& spec : workload_registry()) {
      pairs.push_back({driver, spec.name});
    }
  }
  return pairs;
}

class EveryWorkload : public ::testing::TestWithParam<OnDriver> {};

TEST_P(EveryWorkload, RunsVerifiesAndCleansUp) {
  const auto& [driver, workload] = GetParam();
  if (const auto reason = testing::reason_not_here(driver); !reason.empty()) {
    GTEST_SKIP() << driver << ": " << reason;
  }
  FakeStore store(driver);
  std::set<LayerId> fixtures;
  for (const auto& params : expand_params(find_workload(workload), Profile::smoke)) {
    SCOPED_TRACE(text_of(params));
    FakeCase c(store, params);
    const Status ran = find_workload(workload).run(c);
    ASSERT_TRUE(ran.ok()) << ran.error().what;
    EXPECT_TRUE(std::any_of(c.phases.begin(), c.phases.end(), [](const auto& each) { return each.second.timed; }));
    EXPECT_FALSE(c.flags.contains("cache_not_cold"));
    const auto layers = c.driver().list();
    ASSERT_TRUE(layers.ok()) << layers.error().what;
    fixtures.insert(c.fixtures.begin(), c.fixtures.end());
    for (const auto& [id, parent] : *layers) {
      EXPECT_TRUE(fixtures.contains(id)) << id << " was left behind";
    }
  }
}

std::string pair_name(const ::testing::TestParamInfo<OnDriver>& info) {
  std::string name = info.param.driver + "_" + info.param.workload;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Smoke, EveryWorkload, ::testing::ValuesIn(all_pairs({"native", "overlay2", "btrfs"})),
                         pair_name);

TEST(WhereItFits, a_full_device_and_too_few_open_files_are_answers_about_the_machine) {
  if (const auto reason = testing::reason_not_here("native"); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  FakeStore store("native");
  const auto refusal_of = [&](int code) {
    FakeCase c(store, {});
    const Status ran = where_it_fits([code](Case&) -> Status { return plain_error(code, "told so"); })(c);
    EXPECT_FALSE(ran.ok());
    return c.refusal() ? c.refusal()->reason + "; " + c.refusal()->remedy : "";
  };
  EXPECT_THAT(refusal_of(ENOSPC), ::testing::AllOf(::testing::HasSubstr("the device is full: told so"), ::testing::HasSubstr("--image-size")));
  EXPECT_EQ(refusal_of(EIO), "");
  const pid_t child = ::fork();  // who lowers a hard limit may not raise it again
  if (child == 0) {
    const rlimit few{500, 500};
    const std::string said = ::setrlimit(RLIMIT_NOFILE, &few) == 0 ? refusal_of(EMFILE) : "no limit";
    ::_exit(said.find("500 files open here: told so") != std::string::npos && said.find("LimitNOFILE=1048576") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

class LossyStore : public ::testing::TestWithParam<OnDriver> {};

TEST_P(LossyStore, IsCaughtByTheWorkload) {
  const auto& [driver, workload] = GetParam();
  if (const auto reason = testing::reason_not_here(driver); !reason.empty()) {
    GTEST_SKIP() << driver << ": " << reason;
  }
  FakeStore store(driver, [](auto inner) { return std::make_unique<testing::LossyDriver>(std::move(inner)); });
  FakeCase c(store, expand_params(find_workload(workload), Profile::smoke).front());
  const Status ran = find_workload(workload).run(c);
  ASSERT_FALSE(ran.ok()) << "lost bytes went unnoticed";
  EXPECT_EQ(ran.error().code, EILSEQ) << ran.error().what;
}

/// Without the workloads that store nothing they could read back.
std::vector<OnDriver> storing_pairs() {
  auto pairs = all_pairs({"native"});
  std::erase_if(pairs, [](const OnDriver& each) {
    return each.workload == "harness.overhead" || each.workload == "layer_build.remove";
  });
  return pairs;
}

INSTANTIATE_TEST_SUITE_P(Smoke, LossyStore, ::testing::ValuesIn(storing_pairs()), pair_name);

/// Runs the smoke case of `workload` whose parameters include `wanted` on a new store of `driver`.
class OneWorkload : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto* driver : {"native", "overlay2"}) {
      if (const auto reason = testing::reason_not_here(driver); !reason.empty()) {
        GTEST_SKIP() << driver << ": " << reason;
      }
    }
  }

  FakeCase& run(const std::string& driver, const std::string& workload,
                const std::map<std::string, std::string>& wanted) {
    store_ = std::make_unique<FakeStore>(driver);
    for (const auto& params : expand_params(find_workload(workload), Profile::smoke)) {
      const auto agrees = [&](const auto& each) { return params.text(each.first) == each.second; };
      if (std::all_of(wanted.begin(), wanted.end(), agrees)) {
        case_ = std::make_unique<FakeCase>(*store_, params);
        const Status ran = find_workload(workload).run(*case_);
        EXPECT_TRUE(ran.ok()) << ran.error().what;
        return *case_;
      }
    }
    throw std::runtime_error("no such smoke case of " + workload);
  }

  std::unique_ptr<FakeStore> store_;
  std::unique_ptr<FakeCase> case_;
};

TEST_F(OneWorkload, FirstWriteTimesTheFirstWriteAlone) {
  FakeCase& c = run("overlay2", "copy_up.first_write", {{"cache", "cold"}});
  EXPECT_TRUE(c.phases.at("first_write").timed);
  EXPECT_FALSE(c.phases.at("second_write").timed);
  for (const auto* call : {"open", "write", "fsync", "second_open", "second_write", "second_fsync"}) {
    EXPECT_EQ(c.latency_counts.at(call), 1u) << call;
  }
  EXPECT_EQ(c.bytes_app_written, 4096u);
  EXPECT_TRUE(c.flags.contains("cache_cold_verified"));
}

TEST_F(OneWorkload, ChownCopiesTheFileOnOverlay2AndNotOnAPlainDirectory) {
  EXPECT_EQ(run("overlay2", "copy_up.triggers", {{"op", "chown"}}).metrics.at("copied"), 1.0);
  EXPECT_EQ(run("native", "copy_up.triggers", {{"op", "chown"}}).metrics.at("copied"), 0.0);
}

TEST_F(OneWorkload, OpeningForWritingAloneCopiesTheFileOnOverlay2) {
  FakeCase& c = run("overlay2", "copy_up.triggers", {{"op", "open_only"}});
  EXPECT_EQ(c.metrics.at("copied"), 1.0);
  EXPECT_EQ(c.bytes_app_written, 0u);
}

TEST_F(OneWorkload, RenameOfALowerDirectoryFallsBackToCopyingOnOverlay2) {
  EXPECT_EQ(run("overlay2", "copy_up.rename_dir", {}).metrics.at("exdev"), 1.0);
  FakeCase& c = run("native", "copy_up.rename_dir", {});
  EXPECT_EQ(c.metrics.at("exdev"), 0.0);
  EXPECT_FALSE(c.phases.contains("copy"));
}

TEST_F(OneWorkload, TreeAppendHasOneLatencyAFile) {
  EXPECT_EQ(run("overlay2", "copy_up.tree_append", {}).latency_counts.at("append"), 50u);
}

TEST_F(OneWorkload, BuildTimesEveryPhaseOfEveryStep) {
  FakeCase& c = run("overlay2", "layer_build.build", {});
  for (const auto* step : {"packages", "dependencies", "code", "config"}) {
    for (const auto* phase : {"prepare", "mount", "write", "unmount", "diff", "commit"}) {
      EXPECT_TRUE(c.phases.at(fmt::format("{}.{}", step, phase)).timed) << step << " " << phase;
    }
  }
}

TEST_F(OneWorkload, SecondApplicationSharesAllButItsCodeAndEntryPoint) {
  FakeCase& c = run("overlay2", "cache_reuse.two_apps", {});
  EXPECT_EQ(c.metrics.at("cache_hits"), 2.0);
  EXPECT_EQ(c.metrics.at("cache_misses"), 2.0);
  EXPECT_GT(c.metrics.at("bytes_shared"), 4e6);
  EXPECT_TRUE(c.phases.at("second_build").timed);
  EXPECT_FALSE(c.phases.at("first_build").timed);
}

TEST_F(OneWorkload, ChangedDependencyInvalidatesItsStepAndAllAfterIt) {
  EXPECT_EQ(run("overlay2", "cache_reuse.rebuild", {{"step", "dependencies"}}).metrics.at("cache_misses"), 3.0);
  EXPECT_EQ(run("overlay2", "cache_reuse.rebuild", {{"step", "code"}}).metrics.at("cache_misses"), 2.0);
  EXPECT_EQ(run("overlay2", "cache_reuse.rebuild", {{"step", "config"}}).metrics.at("cache_misses"), 1.0);
}

TEST_F(OneWorkload, ContainersStartColdAndReportTheirPrice) {
  FakeCase& c = run("overlay2", "cache_reuse.containers", {});
  EXPECT_EQ(c.latency_counts.at("start"), 2u);
  EXPECT_EQ(c.latency_counts.at("read_entries"), 2u);
  EXPECT_GT(c.bytes_app_read, 2 * kMiB);
  EXPECT_TRUE(c.flags.contains("cache_cold_verified"));
  EXPECT_GT(c.metrics.at("inodes_per_container"), 0.0);
}

TEST_F(OneWorkload, DepthLooksFilesUpAtEveryCheckpoint) {
  FakeCase& c = run("overlay2", "layer_build.depth", {});
  EXPECT_EQ(c.metrics.at("depth_reached_layers"), 8.0);
  EXPECT_EQ(c.latency_counts.at("lookup_depth_8"), 64u);
  EXPECT_FALSE(c.flags.contains("depth_refused"));
}

TEST_F(OneWorkload, BenchsuiteDoesWhatContainerdsDoes) {
  FakeCase& c = run("overlay2", "peers.benchsuite", {});
  EXPECT_EQ(c.metrics.at("writes"), 94.0);
  EXPECT_EQ(c.metrics.at("patches"), 49.0);
  EXPECT_EQ(c.metrics.at("deletes"), 17.0);
  EXPECT_EQ(c.phases.at("prepare").count, 16u);
  EXPECT_EQ(c.phases.at("commit").count, 16u);
  EXPECT_EQ(c.bytes_app_written, 94u * 16 * kKiB + 49 * 4);
}

TEST_F(OneWorkload, EveryWorkerOfAStorageTaskVisitsEveryFile) {
  EXPECT_EQ(run("overlay2", "peers.storage_tasks", {{"task", "append-big-files"}}).latency_counts.at("append"), 80u);
  EXPECT_EQ(run("native", "peers.storage_tasks", {{"task", "read-tree-mounted"}}).latency_counts.at("read"), 32u);
}

TEST_F(OneWorkload, NeighbourIsMeasuredAloneAndBesideADeletion) {
  FakeCase& c = run("overlay2", "peers.neighbour", {});
  EXPECT_EQ(c.latency_counts.at("alone"), 20u);
  EXPECT_GE(c.latency_counts.at("beside_deletion"), 1u);
}

TEST_F(OneWorkload, ScaleCountsTheLayersThatAreThere) {
  FakeCase& c = run("overlay2", "scale.layers", {{"layers", "10"}});
  EXPECT_EQ(c.metrics.at("layers_existing"), 11.0);  // and the image below them
  EXPECT_EQ(c.latency_counts.at("prepare"), 20u);
}

/// Loses one leaf of the tree when a layer is committed.
class LeafLosingDriver final : public testing::LossyDriver {
 public:
  using LossyDriver::LossyDriver;
  Status commit(const LayerId& name, const LayerId& key) override {
    {
      SBENCH_TRY_SET(Mount mount, mount_of(key));
      std::error_code none;
      std::filesystem::remove(mount.path() / "tree-of-files/0/1/0/1/oh-hi", none);
      SBENCH_TRY(mount.release());
    }
    return LossyDriver::commit(name, key);
  }

 private:
  Result<Mount> mount_of(const LayerId& key) { return LossyDriver::mount(key); }
};

TEST_F(OneWorkload, AStorageTaskEndsWhereALeafIsMissing) {
  FakeStore store("native", [](auto inner) { return std::make_unique<LeafLosingDriver>(std::move(inner)); });
  unsigned seen = 0;
  for (const auto& params : expand_params(find_workload("peers.storage_tasks"), Profile::smoke)) {
    if (const auto& task = params.text("task"); task == "append-tree" || task == "read-tree") {
      FakeCase c(store, params);
      const Status ran = find_workload("peers.storage_tasks").run(c);
      ASSERT_FALSE(ran.ok());
      EXPECT_NE(ran.error().what.find("tree-of-files/0/1/0/1"), std::string::npos) << ran.error().what;
      ++seen;
    }
  }
  EXPECT_EQ(seen, 2u);
}

/// A driver that stacks few layers, or whose device is full.
class SmallDriver final : public testing::LossyDriver {
 public:
  SmallDriver(std::unique_ptr<Driver> inner, int depth_max, bool full)
      : LossyDriver(std::move(inner)), depth_max_(depth_max), full_(full) {}
  Capabilities capabilities() const override {
    Capabilities few = LossyDriver::capabilities();
    few.depth_layers_max = depth_max_;
    return few;
  }
  Status prepare(const LayerId& key, const ParentId& parent) override {
    return full_ ? Status(make_error(ENOSPC, "cannot make {}", key)) : LossyDriver::prepare(key, parent);
  }

 private:
  int depth_max_;
  bool full_;
};

class CannotRun : public OneWorkload {
 protected:
  /// The refusal of the first smoke case that `wanted` fits.
  Case::Refusal refusal(const std::string& workload, const std::string& value, int depth_max, bool full) {
    FakeStore store("native", [&](auto inner) { return std::make_unique<SmallDriver>(std::move(inner), depth_max, full); });
    for (const auto& params : expand_params(find_workload(workload), Profile::smoke)) {
      if (value.empty() || text_of(params).find(value) != std::string::npos) {
        FakeCase c(store, params);
        const Status ran = find_workload(workload).run(c);
        EXPECT_FALSE(ran.ok());
        EXPECT_TRUE(c.refusal().has_value()) << (ran.ok() ? "" : ran.error().what);
        return c.refusal().value_or(Case::Refusal{});
      }
    }
    throw std::runtime_error("no such smoke case of " + workload);
  }
};

TEST_F(CannotRun, TooManyLayersAreRefusedWithTheDriversLimit) {
  const auto found = refusal("peers.graphtest", "diff-125-layers", 4, false);
  EXPECT_EQ(found.reason, "5 layers are asked for, 4 are the most this driver stacks");
  EXPECT_FALSE(found.remedy.empty());
}

TEST_F(CannotRun, AFullDeviceIsNoFailure) {
  const auto found = refusal("peers.move_tree", "", 0, true);
  EXPECT_NE(found.reason.find("the device is full"), std::string::npos) << found.reason;
  EXPECT_NE(found.remedy.find("--image-size"), std::string::npos);
}

}  // namespace
}  // namespace sbench
