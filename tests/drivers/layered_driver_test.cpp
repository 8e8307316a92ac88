// layered_driver_test.cpp: mount counting and state rules, on a driver whose mechanism is a list.
#include "drivers/layered_driver.h"

#include <gmock/gmock.h>

#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

/// Writes down what it is asked to do, and fails where it is told to.
class ListingDriver final : public LayeredDriver {
 public:
  explicit ListingDriver(std::vector<std::string>& calls) : LayeredDriver(LayerTable::in_memory()), calls_(calls) {}
  ~ListingDriver() override { stays_behind = settle_mounts(); }

  std::string failing_call;
  bool shown_before = false;
  static inline bool stays_behind = false;

  Result<Usage> usage(const LayerId&) override { return Usage{}; }
  Result<Usage> store_usage() override { return Usage{}; }
  Status sync() override { return {}; }
  std::vector<std::pair<std::string, std::string>> status() override { return {}; }
  Capabilities capabilities() const override { return {}; }

 private:
  Status call(const std::string& text) {
    calls_.push_back(text);
    return text == failing_call ? Status(plain_error(EIO, "told to fail")) : Status();
  }
  Status create_layer(const LayerId& key, const ParentId&) override { return call("create " + key); }
  Status commit_layer(const LayerId& name, const LayerId& key) override { return call("commit " + name + " " + key); }
  Status delete_layer(const LayerId& id) override { return call("delete " + id); }
  Result<Shown> show_layer(const LayerId& id) override {
    SBENCH_TRY(call("show " + id));
    return Shown{"/nowhere/" + id, shown_before};
  }
  Status hide_layer(const LayerId& id) override { return call("hide " + id); }

  std::vector<std::string>& calls_;
};

class LayeredDriverTest : public testing::Test {
 protected:
  std::vector<std::string> calls_;
  ListingDriver driver_{calls_};

  void prepare(const LayerId& id) {
    must(driver_.prepare(id, {}));
    calls_.clear();
  }
};

TEST_F(LayeredDriverTest, one_layer_is_shown_once_and_hidden_with_its_last_mount) {
  prepare("a");
  {
    auto first = must(driver_.mount("a"));
    auto second = must(driver_.mount("a"));
    auto moved = std::move(first);
    EXPECT_THAT(calls_, testing::ElementsAre("show a"));
  }
  EXPECT_THAT(calls_, testing::ElementsAre("show a", "hide a"));
}

TEST_F(LayeredDriverTest, an_adopted_mount_goes_only_by_explicit_release) {
  prepare("a");
  driver_.shown_before = true;
  { auto adopted = must(driver_.mount("a")); }
  EXPECT_THAT(calls_, testing::ElementsAre("show a"));
  must(must(driver_.mount("a")).release());
  EXPECT_THAT(calls_, testing::ElementsAre("show a", "show a", "hide a"));
}

TEST_F(LayeredDriverTest, a_detached_layer_stays_shown_and_busy) {
  prepare("a");
  must(driver_.mount("a")).detach();
  { auto again = must(driver_.mount("a")); }
  EXPECT_THAT(calls_, testing::ElementsAre("show a"));
  EXPECT_EQ(code_of(driver_.remove("a")), EBUSY);
}

TEST_F(LayeredDriverTest, a_failed_hide_is_reported_and_keeps_the_layer_busy) {
  prepare("a");
  driver_.failing_call = "hide a";
  auto mounted = must(driver_.mount("a"));
  EXPECT_EQ(code_of(mounted.release()), EIO);
  EXPECT_EQ(code_of(driver_.remove("a")), EBUSY);
  driver_.failing_call.clear();
  must(must(driver_.mount("a")).release());
  must(driver_.remove("a"));
}

TEST_F(LayeredDriverTest, a_failed_creation_is_cleaned_up_and_leaves_no_row) {
  driver_.failing_call = "create a";
  EXPECT_EQ(code_of(driver_.prepare("a", {})), EIO);
  EXPECT_THAT(calls_, testing::ElementsAre("create a", "delete a"));
  EXPECT_TRUE(must(driver_.list()).empty());
}

TEST_F(LayeredDriverTest, a_failed_commit_or_delete_keeps_the_row) {
  prepare("a");
  driver_.failing_call = "commit b a";
  EXPECT_EQ(code_of(driver_.commit("b", "a")), EIO);
  driver_.failing_call = "delete a";
  EXPECT_EQ(code_of(driver_.remove("a")), EIO);
  EXPECT_EQ(must(driver_.list()).size(), 1u);
}

TEST_F(LayeredDriverTest, wrong_calls_never_reach_the_mechanism) {
  prepare("a");
  EXPECT_EQ(code_of(driver_.prepare("a", {})), EEXIST);
  EXPECT_EQ(code_of(driver_.prepare("b", "a")), EINVAL);
  EXPECT_EQ(code_of(driver_.commit("b", "c")), ENOENT);
  EXPECT_EQ(code_of(driver_.remove("c")), ENOENT);
  EXPECT_EQ(code_of(driver_.mount("c")), ENOENT);
  EXPECT_THAT(calls_, testing::IsEmpty());
}

TEST(LayeredDriverDeath, a_mount_that_outlives_its_driver_is_a_bug) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        std::vector<std::string> calls;
        auto driver = std::make_unique<ListingDriver>(calls);
        must(driver->prepare("a", {}));
        auto mounted = must(driver->mount("a"));
        driver.reset();
      },
      "bug");
}

TEST(LayeredDriverSettling, only_detached_mounts_stay_behind) {
  std::vector<std::string> calls;
  for (const bool detach : {false, true}) {
    {
      ListingDriver driver(calls);
      must(driver.prepare("a", {}));
      auto mounted = must(driver.mount("a"));
      if (detach) {
        mounted.detach();
      }
      must(mounted.release());
    }
    EXPECT_EQ(ListingDriver::stays_behind, detach);
  }
}

}  // namespace
}  // namespace sbench::test
