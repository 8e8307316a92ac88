// concurrent_test.cpp: many threads on one pool: writers, readers, flushes, snapshots, deletions, discards at once.
#include <thread>

#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

constexpr std::uint64_t kBlock = 4096;

TEST(ConcurrentPool, every_thread_reads_what_it_wrote_while_snapshots_come_and_go) {
  constexpr int kWriters = 3;
  constexpr std::uint64_t kBlocks = 256;  // of each writer; they interleave within chunks
  OpenOptions options;
  options.commit_interval_ms = 2;
  options.cache_bytes = 64 * kKiB;
  TestPool test(64 * kMiB, {}, options);
  must(test.pool->create_device(1, kWriters * kBlocks * kBlock));
  std::atomic<bool> done = false;
  std::vector<std::map<std::uint64_t, std::uint64_t>> models(kWriters);
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      Rng rng(test_seed(), "writer " + std::to_string(writer));
      auto& model = models[static_cast<std::size_t>(writer)];
      for (std::uint64_t i = 1; i <= 800; ++i) {
        const std::uint64_t block = rng.below(kBlocks) * kWriters + static_cast<std::uint64_t>(writer);
        if (rng.below(3) == 0) {
          ASSERT_EQ(test.read(1, block * kBlock), model[block]) << "block " << block;
        } else {
          test.write(1, block * kBlock, kBlock, i);
          model[block] = i;
        }
        if (rng.below(20) == 0) {
          must(test.pool->flush());
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (DeviceId id = 2; !done; id = id == 20 ? 2 : id + 1) {
      must(test.pool->create_snapshot(id, 1));
      const std::uint64_t seen = test.read(id, 0);
      must(test.pool->zero(id, kSmallChunk, kSmallChunk));
      EXPECT_EQ(test.read(id, kSmallChunk), 0u);
      EXPECT_EQ(test.read(id, 0), seen) << "a snapshot does not change";
      must(test.pool->delete_device(id));
    }
  });
  for (int writer = 0; writer < kWriters; ++writer) {
    threads[static_cast<std::size_t>(writer)].join();
  }
  done = true;
  threads.back().join();
  test.reopen();
  for (const auto& model : models) {
    for (const auto& [block, value] : model) {
      ASSERT_EQ(test.read(1, block * kBlock), value) << "block " << block;
    }
  }
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(ConcurrentPool, flushes_asked_for_together_share_one) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  test.write(1, 0, kMiB, 1);
  must(test.pool->flush());
  const auto before = test.device->flushes();
  std::vector<std::thread> threads;
  std::atomic<int> flushed = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 50; ++turn) {
        must(test.pool->flush());
        ++flushed;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(flushed, 400);
  EXPECT_LE(test.device->flushes() - before, 400u);
}

TEST(ConcurrentPool, what_nobody_flushes_is_committed_at_intervals) {
  OpenOptions options;
  options.commit_interval_ms = 5;
  TestPool test(16 * kMiB, {}, options);
  must(test.pool->create_device(1, kMiB));
  const auto before = test.pool->statistics().transaction;
  test.write(1, 0, kBlock, 1);
  for (int wait = 0; wait < 2000 && test.pool->statistics().transaction == before; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_GT(test.pool->statistics().transaction, before);
}

}  // namespace
}  // namespace sbench::thin_pool
