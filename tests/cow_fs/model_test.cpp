// model_test.cpp: long random histories with snapshots and clones end as the plain model does, and leave a whole pool.
#include "tests/cow_fs/history.h"

namespace sbench::cow_fs {
namespace {

TEST(CowModel, random_histories_end_as_the_model_does) {
  const std::uint64_t rounds = test_rounds(6);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = test_seed() + round;
    SCOPED_TRACE(fmt::format("SBENCH_TEST_SEED={}", seed));
    TestPool pool(64 * kMiB);
    auto history = std::make_unique<History>(*pool.pool, seed, 60'000);
    for (int step = 0; step < 400; ++step) {
      SCOPED_TRACE(fmt::format("step {}", step));
      const auto did = history->step();
      ASSERT_TRUE(did.ok()) << did.error().what;
      if (step % 100 == 99) {
        ASSERT_EQ(must(describe_pool(*pool.pool)), history->model.describe());
        ASSERT_THAT(pool.findings(), testing::IsEmpty());
        if (step % 200 == 199) {
          pool.reopen();
          ASSERT_EQ(must(describe_pool(*pool.pool)), history->model.describe());
          auto next = std::make_unique<History>(*pool.pool, seed + step, 60'000);
          next->model = history->model;
          next->serial_from(1000 + step);
          history = std::move(next);
        }
      }
    }
  }
}

}  // namespace
}  // namespace sbench::cow_fs
