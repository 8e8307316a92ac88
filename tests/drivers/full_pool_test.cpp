// full_pool_test.cpp: writes that find a thin pool full: fail or wait (dm.full), in both engines alike.
//
// The kernel's dm-thin is tested where the kernel has it: under user-mode Linux (tests/vm).
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

constexpr std::uint64_t kPoolBytes = 136 * kMiB;
constexpr std::uint64_t kBallastBytes = 48 * kMiB;
constexpr std::uint64_t kFileBytes = 2 * kMiB;
constexpr int kFiles = 24;  ///< more than fits beside the ballast, less than fits without it

class FullPool : public testing::TestWithParam<const char*> {
 protected:
  Variant variant(Options more) const {
    more["engine"] = GetParam();
    more["dm.basesize"] = "64M";
    return {"devicemapper", std::move(more)};
  }
};
INSTANTIATE_TEST_SUITE_P(Engine, FullPool, testing::Values("kernel", "userspace"),
                         [](const auto& each) { return std::string(each.param); });

std::string row_of(TestStore& store, const std::string& name) {
  for (const auto& [row, value] : store.driver().status()) {
    if (row == name) {
      return value;
    }
  }
  return "";
}

/// A layer that takes space, and a container "c" with a synced file.
void make_layers(TestStore& store) {
  make_layer(store.driver(), "ballast", {}, [](const std::filesystem::path& tree) {
    write_file(tree / "b", std::string(kBallastBytes, 'b'));
  });
  must(store.driver().prepare("c", {}));
  auto tree = must(store.driver().mount("c"));
  write_file(tree.path() / "kept", "kept");
  must(store.driver().sync());
}

std::string content_of(int file) { return std::string(kFileBytes, static_cast<char>('A' + file)); }

/// Files written and synced one after the other; how many were acknowledged before one failed.
int fill(const std::filesystem::path& tree) {
  for (int i = 0; i < kFiles; ++i) {
    const Fd fd(::open((tree / std::to_string(i)).c_str(), O_WRONLY | O_CREAT, 0644));
    if (!fd.valid() || !write_all(fd.get(), content_of(i), "a file").ok() || ::fsync(fd.get()) != 0) {
      return i;
    }
  }
  return kFiles;
}

void expect_acknowledged(TestStore& store, int files) {
  store.reopen();
  auto tree = must(store.driver().mount("c"));
  EXPECT_EQ(read_file(tree.path() / "kept"), "kept");
  for (int i = 0; i < files; ++i) {
    EXPECT_TRUE(read_file(tree.path() / std::to_string(i)) == content_of(i)) << "file " << i << " was acknowledged";
  }
}

TEST_P(FullPool, with_queue_a_write_waits_until_a_removed_layer_gives_space) {
  const auto queueing = variant({{"dm.full", "queue"}, {"dm.full_timeout", "200"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(queueing);
  TestStore store(queueing, kPoolBytes);
  make_layers(store);
  EXPECT_EQ(row_of(store, "When Full"), "queue for 200 s");
  EXPECT_EQ(row_of(store, "Pool Mode"), "rw");
  auto tree = must(store.driver().mount("c"));
  std::atomic<int> acknowledged = -1;
  std::thread writer([&] { acknowledged = fill(tree.path()); });
  while (acknowledged < 0 && row_of(store, "Pool Mode") != "out_of_data_space") {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(acknowledged, -1) << "it is to wait, not to end";
  const Status removed = store.driver().remove("ballast");
  writer.join();
  must(removed);
  EXPECT_EQ(acknowledged, kFiles);
  EXPECT_EQ(row_of(store, "Pool Mode"), "rw");
  must(tree.release());
  expect_acknowledged(store, kFiles);
}

TEST_P(FullPool, with_queue_writes_fail_when_the_time_is_over_and_what_was_acknowledged_is_there) {
  const auto queueing = variant({{"dm.full", "queue"}, {"dm.full_timeout", "1"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(queueing);
  TestStore store(queueing, kPoolBytes);
  make_layers(store);
  int acknowledged = 0;
  {
    auto tree = must(store.driver().mount("c"));
    acknowledged = fill(tree.path());
    EXPECT_LT(acknowledged, kFiles);
    EXPECT_GT(acknowledged, 0);
  }
  must(store.driver().remove("ballast"));
  expect_acknowledged(store, acknowledged);
}

TEST_P(FullPool, with_error_writes_fail_at_once_and_what_was_acknowledged_is_there) {
  const auto failing = variant({{"dm.full", "error"}, {"dm.full_timeout", "86400"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(failing);
  TestStore store(failing, kPoolBytes);
  EXPECT_EQ(row_of(store, "When Full"), "error");
  make_layers(store);
  int acknowledged = 0;
  {
    auto tree = must(store.driver().mount("c"));
    acknowledged = fill(tree.path());
    EXPECT_LT(acknowledged, kFiles);
  }
  must(store.driver().remove("ballast"));
  expect_acknowledged(store, acknowledged);
}

TEST_P(FullPool, a_queue_time_that_is_none_is_refused) {
  for (const char* bad : {"0", "86401", "ten", "5s", ""}) {
    const auto wrong = variant({{"dm.full", "queue"}, {"dm.full_timeout", bad}});
    const auto availability = wrong.spec().probe(wrong.options());
    EXPECT_FALSE(availability.available);
    EXPECT_THAT(availability.reason, testing::HasSubstr("dm.full_timeout"));
  }
}

}  // namespace
}  // namespace sbench::test
