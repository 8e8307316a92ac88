// model_test.cpp: a pool against plain arrays: seeded writes, snapshots, discards, deletions, reopenings.
#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kDeviceBytes = 20 * kSmallChunk;

/// Device id → the value of each 4 KiB block; nothing where any value is right (after a discard).
using Model = std::map<DeviceId, std::map<std::uint64_t, std::uint64_t>>;

class Player {
 public:
  Player(TestPool& test, std::uint64_t seed, bool skip_zeroing) : test_(test), rng_(seed, "pool model"), skip_(skip_zeroing) {}

  void step() {
    const std::uint64_t choice = rng_.below(100);
    if (choice < 3 || model_.empty()) {
      create();
    } else if (choice < 9) {
      snapshot();
    } else if (choice < 11) {
      remove();
    } else if (choice < 60) {
      write();
    } else if (choice < 70) {
      clear();
    } else if (choice < 74) {
      must(test_.pool->flush());
    } else if (choice < 76) {
      test_.reopen();
    } else {
      compare(any());
    }
  }

  void compare_all() {
    for (const auto& [id, blocks] : model_) {
      compare(id);
    }
    std::vector<DeviceId> ids;
    for (const auto& [id, blocks] : model_) {
      ids.push_back(id);
    }
    EXPECT_EQ(must(test_.pool->device_ids()), ids);
  }

 private:
  DeviceId any() {
    auto found = model_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(rng_.below(model_.size())));
    return found->first;
  }
  void create() {
    const auto id = static_cast<DeviceId>(rng_.below(12));
    const int code = code_of(test_.pool->create_device(id, kDeviceBytes));
    EXPECT_EQ(code, model_.contains(id) ? EEXIST : 0);
    model_[id];
  }
  void snapshot() {
    const auto id = static_cast<DeviceId>(rng_.below(12));
    const DeviceId origin = any();
    const int code = code_of(test_.pool->create_snapshot(id, origin));
    EXPECT_EQ(code, model_.contains(id) ? EEXIST : 0);
    if (code == 0) {
      model_[id] = model_[origin];
      unwritten_[id] = unwritten_[origin];
    }
  }
  void remove() {
    const DeviceId id = any();
    must(test_.pool->delete_device(id));
    model_.erase(id);
    unwritten_.erase(id);
  }
  std::pair<std::uint64_t, std::uint64_t> range() {
    const std::uint64_t blocks = kDeviceBytes / kBlock;
    const std::uint64_t first = rng_.below(blocks);
    const std::uint64_t length = 1 + rng_.below(rng_.below(3) == 0 ? blocks - first : std::min<std::uint64_t>(4, blocks - first));
    return {first, length};
  }
  void write() {
    const DeviceId id = any();
    const auto [first, length] = range();
    const std::uint64_t value = ++serial_;
    test_.write(id, first * kBlock, length * kBlock, value);
    for (std::uint64_t i = first; i < first + length; ++i) {
      model_[id][i] = value;
    }
  }
  void clear() {
    const DeviceId id = any();
    const auto [first, length] = range();
    const bool zero = rng_.below(2) == 0;
    must(zero ? test_.pool->zero(id, first * kBlock, length * kBlock)
              : test_.pool->discard(id, first * kBlock, length * kBlock));
    constexpr std::uint64_t kPerChunk = kSmallChunk / kBlock;
    for (std::uint64_t i = first; i < first + length; ++i) {
      const bool whole = i / kPerChunk * kPerChunk >= first && (i / kPerChunk + 1) * kPerChunk <= first + length;
      if (zero) {
        model_[id][i] = 0;
      } else if (whole) {
        model_[id].erase(i);
        unwritten_[id].insert(i);
      }
    }
  }
  /// Blocks never written read as zeros, unless zeroing is skipped; discarded ones as anything.
  void compare(DeviceId id) {
    const auto& blocks = model_[id];
    std::vector<std::byte> data(kDeviceBytes);
    must(test_.pool->read(id, 0, data));
    for (std::uint64_t i = 0; i < kDeviceBytes / kBlock; ++i) {
      const auto found = blocks.find(i);
      if (found == blocks.end() && (skip_ || unwritten_[id].contains(i))) {
        continue;
      }
      ASSERT_EQ(value_of(std::span(data).subspan(i * kBlock, kBlock)), found == blocks.end() ? 0 : found->second)
          << "device " << id << " block " << i;
    }
  }

  TestPool& test_;
  Rng rng_;
  bool skip_;
  std::uint64_t serial_ = 0;
  Model model_;
  std::map<DeviceId, std::set<std::uint64_t>> unwritten_;
};

class PoolModel : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Zeroing, PoolModel, testing::Bool(),
                         [](const auto& each) { return each.param ? "skipped" : "done"; });

TEST_P(PoolModel, holds_what_plain_arrays_hold_and_checks_clean) {
  const std::uint64_t rounds = test_rounds(6);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = test_seed() + round;
    SCOPED_TRACE("SBENCH_TEST_SEED=" + std::to_string(seed));
    FormatOptions format;
    format.skip_zeroing = GetParam();
    TestPool test(24 * kMiB, format);
    Player player(test, seed, GetParam());
    for (int i = 0; i < 600 && !HasFatalFailure(); ++i) {
      player.step();
      if (i % 100 == 99) {
        ASSERT_THAT(test.findings(), testing::IsEmpty()) << "after step " << i;
      }
    }
    test.reopen();
    player.compare_all();
    EXPECT_THAT(test.findings(), testing::IsEmpty());
  }
}

TEST(Pool, a_snapshot_shares_everything_and_a_write_copies_one_chunk) {
  TestPool test;
  must(test.pool->create_device(1, 4 * kMiB));
  test.write(1, 0, 2 * kMiB, 7);
  const auto used = test.pool->statistics().data_chunks_used;
  must(test.pool->create_snapshot(2, 1));
  EXPECT_EQ(test.pool->statistics().data_chunks_used, used);
  EXPECT_EQ(must(test.pool->device(2)).own_chunks, 0u);
  EXPECT_EQ(must(test.pool->device(2)).mapped_chunks, 32u);
  const auto read_before = test.device->bytes_read();
  test.write(2, kSmallChunk + 4096, 4096, 9);
  EXPECT_EQ(test.device->bytes_read() - read_before, kSmallChunk) << "the old chunk is read once";
  EXPECT_EQ(test.pool->statistics().data_chunks_used, used + 1);
  EXPECT_EQ(must(test.pool->device(2)).own_chunks, 1u);
  const auto written_before = test.device->bytes_written();
  test.write(2, kSmallChunk + 8192, 4096, 10);
  EXPECT_EQ(test.device->bytes_written() - written_before, 4096u) << "a second write to the chunk costs itself";
  EXPECT_EQ(test.read(1, kSmallChunk + 4096), 7u);
  EXPECT_EQ(test.read(2, kSmallChunk + 4096), 9u);
  EXPECT_EQ(test.read(2, kSmallChunk + 8192), 10u);
  EXPECT_EQ(test.read(2, kSmallChunk), 7u);
}

TEST(Pool, the_cost_of_a_first_write_does_not_grow_with_the_depth_of_snapshots) {
  TestPool test(64 * kMiB);
  must(test.pool->create_device(1, 4 * kMiB));
  test.write(1, 0, 2 * kMiB, 7);
  std::map<DeviceId, std::uint64_t> cost;
  for (DeviceId id = 2; id <= 101; ++id) {
    must(test.pool->create_snapshot(id, id - 1));
    const auto before = test.device->bytes_written();
    test.write(id, kSmallChunk, 4096, id);
    must(test.pool->flush());
    cost[id] = test.device->bytes_written() - before;
  }
  EXPECT_EQ(cost[2], cost[11]);
  EXPECT_LE(cost[101], cost[2] + kBlock) << "a hundred devices have a device tree of two levels";
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Pool, an_overwrite_of_an_unshared_chunk_commits_nothing) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  test.write(1, 0, kSmallChunk, 1);
  must(test.pool->flush());
  const auto transaction = test.pool->statistics().transaction;
  const auto written = test.device->bytes_written();
  const auto flushes = test.device->flushes();
  test.write(1, 4096, 4096, 2);
  must(test.pool->flush());
  EXPECT_EQ(test.device->bytes_written() - written, 4096u);
  EXPECT_EQ(test.device->flushes() - flushes, 1u);
  EXPECT_EQ(test.pool->statistics().transaction, transaction);
}

TEST(Pool, deleting_gives_space_back_and_passes_discards_down) {
  TestPool test;
  must(test.pool->create_device(1, 4 * kMiB));
  test.write(1, 0, 2 * kMiB, 7);
  must(test.pool->create_snapshot(2, 1));
  test.write(2, 0, kMiB, 8);
  must(test.pool->delete_device(1));
  EXPECT_EQ(test.device->bytes_discarded(), kMiB) << "what the snapshot shares stays";
  EXPECT_EQ(test.read(2, kMiB), 7u);
  must(test.pool->discard(2, 0, kSmallChunk));
  must(test.pool->flush());
  EXPECT_EQ(test.device->bytes_discarded(), kMiB + kSmallChunk);
  must(test.pool->delete_device(2));
  EXPECT_EQ(test.pool->statistics().data_chunks_used, 0u);
  EXPECT_EQ(test.device->bytes_discarded(), 3 * kMiB);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Pool, promised_zeros_hold_even_where_zeroing_is_skipped) {
  FormatOptions format;
  format.skip_zeroing = true;
  TestPool test(16 * kMiB, format);
  must(test.pool->create_device(1, 4 * kMiB));
  std::fill(test.device->bytes().begin() + 4 * kMiB, test.device->bytes().end(), std::byte{0xee});  // stale data
  must(test.pool->zero(1, 4096, 4096));
  must(test.pool->zero(1, kSmallChunk, kSmallChunk));
  test.write(1, 0, 4096, 5);
  test.write(1, kSmallChunk, 4096, 6);
  EXPECT_EQ(test.read(1, 4096), 0u);
  EXPECT_EQ(test.read(1, kSmallChunk + 4096), 0u);
  test.reopen();
  must(test.pool->zero(1, 0, 2 * kSmallChunk));
  EXPECT_EQ(test.pool->statistics().data_chunks_used, 0u);
  test.reopen();
  test.write(1, 8192, 4096, 8);
  EXPECT_EQ(test.read(1, 0), 0u);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Pool, chunks_of_every_size_class_work) {
  for (const std::uint64_t chunk : {64 * kKiB, 192 * kKiB, 512 * kKiB, 3 * kMiB}) {
    FormatOptions format;
    format.chunk_bytes = chunk;
    TestPool test(2 * kMiB + 24 * kMiB, format);
    must(test.pool->create_device(1, 2 * chunk));
    test.write(1, chunk - 4096, 8192, 3);
    must(test.pool->create_snapshot(2, 1));
    test.write(2, chunk, 4096, 4);
    EXPECT_EQ(test.read(2, chunk - 4096), 3u);
    EXPECT_EQ(test.read(2, chunk), 4u);
    EXPECT_EQ(test.read(1, chunk), 3u);
    EXPECT_EQ(test.read(2, chunk + 4096), 0u);
    EXPECT_THAT(test.findings(), testing::IsEmpty());
  }
  MemoryDevice device(16 * kMiB);
  for (const std::uint64_t chunk : {std::uint64_t{4096}, 96 * kKiB, 2 * kGiB}) {
    FormatOptions format;
    format.chunk_bytes = chunk;
    EXPECT_EQ(code_of(Pool::format(device, format)), EINVAL) << chunk;
  }
}

TEST(Pool, requests_out_of_range_and_unknown_devices_are_refused) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  std::vector<std::byte> data(4096);
  EXPECT_EQ(code_of(test.pool->read(1, kMiB, data)), EINVAL);
  EXPECT_EQ(code_of(test.pool->write(1, kMiB - 512, data)), EINVAL);
  EXPECT_EQ(code_of(test.pool->write(1, 100, data)), EINVAL);
  EXPECT_EQ(code_of(test.pool->write(2, 0, data)), ENOENT);
  EXPECT_EQ(code_of(test.pool->zero(1, 0, 2 * kMiB)), EINVAL);
  EXPECT_EQ(code_of(test.pool->delete_device(2)), ENOENT);
  EXPECT_EQ(code_of(test.pool->create_snapshot(3, 2)), ENOENT);
  EXPECT_EQ(code_of(test.pool->grow_device(1, 4096)), EINVAL);
  must(test.pool->grow_device(1, 2 * kMiB));
  test.write(1, kMiB, 4096, 5);
  EXPECT_EQ(test.read(1, kMiB), 5u);
}

TEST(Pool, seek_finds_data_and_holes) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  test.write(1, 2 * kSmallChunk, 2 * kSmallChunk, 5);
  EXPECT_EQ(must(test.pool->seek(1, 0, true)), 2 * kSmallChunk);
  EXPECT_EQ(must(test.pool->seek(1, 0, false)), 0u);
  EXPECT_EQ(must(test.pool->seek(1, 2 * kSmallChunk + 4096, true)), 2 * kSmallChunk + 4096);
  EXPECT_EQ(must(test.pool->seek(1, 2 * kSmallChunk, false)), 4 * kSmallChunk);
  EXPECT_EQ(must(test.pool->seek(1, 4 * kSmallChunk, true)), kMiB);
}

}  // namespace
}  // namespace sbench::thin_pool
