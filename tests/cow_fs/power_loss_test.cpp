// power_loss_test.cpp: the power goes at every write of small histories; what was acknowledged is there afterwards.
#include "tests/cow_fs/history.h"

namespace sbench::cow_fs {
namespace {

using Described = std::map<std::string, std::map<std::string, std::string>>;

/// Every state the pool may be in after a power loss: the last durable one, those after each change since, and the one being tried.
struct Possible {
  std::vector<Described> states;
};

/// Plays a seeded history until the power goes; false when it ended before.
bool play(Pool& pool, std::uint64_t seed, Possible& possible) {
  History history(pool, seed, 12'000);
  possible.states = {history.model.describe()};
  for (int step = 0; step < 24; ++step) {
    const auto did = history.step();
    if (!did.ok()) {
      EXPECT_EQ(did.error().code, EIO) << did.error().what;
      if (history.tried) {
        possible.states.push_back(history.tried->describe());
      }
      return true;
    }
    if (*did == History::Did::durable) {
      possible.states.clear();
    }
    if (*did != History::Did::refused) {
      possible.states.push_back(history.model.describe());
    }
  }
  return false;
}

void verify(std::vector<std::byte> content, const Possible& possible) {
  MemoryDevice after(std::move(content));
  ASSERT_THAT(check_pool(after).findings, testing::IsEmpty());
  const auto pool = must(Pool::open(after, quiet_options()));
  const auto found = must(describe_pool(*pool));
  ASSERT_TRUE(std::find(possible.states.begin(), possible.states.end(), found) != possible.states.end())
      << "the pool holds none of the " << possible.states.size() << " states it may hold";
  must(pool->sync());
  ASSERT_THAT(check_pool(after).findings, testing::IsEmpty());
  must(pool->create("after", {}));  // and it goes on working
  must(Files(*must(DatasetFiles::open(*pool, "after"))).write("f", 0, "text"));
  must(pool->sync());
  ASSERT_THAT(check_pool(after).findings, testing::IsEmpty());
}

TEST(CowPowerLoss, at_every_write_of_small_histories_leaves_a_whole_pool_with_all_that_was_acknowledged) {
  std::uint64_t cuts = 0;
  const std::uint64_t rounds = test_rounds(8);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = test_seed() + round;
    bool cut = true;
    for (std::uint64_t operations = 0; cut; ++operations) {
      SCOPED_TRACE(fmt::format("SBENCH_TEST_SEED={} cut after {} operations", seed, operations));
      MemoryDevice device(6 * kMiB);
      must(Pool::format(device));
      Possible possible;
      {
        const auto pool = must(Pool::open(device, quiet_options()));
        device.cut_power_after(operations);
        cut = play(*pool, seed, possible);
        if (!cut) {
          break;
        }
      }
      Rng rng(seed + operations, "power loss");
      for (int image = 0; image < 2; ++image) {
        verify(device.content_after_power_loss(rng), possible);
        if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) {
          return;
        }
      }
      ++cuts;
    }
  }
  EXPECT_GT(cuts, rounds * 10);
}

}  // namespace
}  // namespace sbench::cow_fs
