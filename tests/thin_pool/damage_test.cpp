// damage_test.cpp: damaged, torn, shrunk and full pools say what is wrong, lose nothing acknowledged, and never crash.
#include <sstream>

#include "drivers/thin_pool/dump.h"
#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

/// A pool with devices, snapshots and mapping trees of two levels, closed.
std::vector<std::byte> closed_pool() {
  FormatOptions format;
  format.metadata_bytes = 4 * kMiB;
  TestPool test(52 * kMiB, format);
  must(test.pool->create_device(1, 1100 * kSmallChunk));
  for (std::uint64_t chunk = 0; chunk < 600; ++chunk) {
    test.write(1, chunk * kSmallChunk, 512, chunk + 1);
  }
  for (DeviceId id = 2; id < 80; ++id) {
    must(test.pool->create_snapshot(id, 1));
  }
  test.write(2, 0, 4096, 4711);
  test.pool.reset();
  return test.device->bytes();
}

/// Blocks of the metadata region that bear a header, by kind.
std::map<BlockKind, std::vector<std::uint64_t>> blocks_by_kind(const std::vector<std::byte>& content) {
  MemoryDevice device(content);
  const auto metadata = must(Metadata::open(device, kMiB));
  std::map<BlockKind, std::vector<std::uint64_t>> blocks;
  for (std::uint64_t number = kSuperblockSlots; number < metadata->superblock().metadata.size; ++number) {
    if (must(metadata->metadata_map().count(number)) > 0) {
      BlockHeader header;
      std::memcpy(&header, content.data() + number * kBlockBytes, sizeof(header));
      blocks[header.kind].push_back(number);
    }
  }
  return blocks;
}

/// Uses every part of a damaged pool: each answer is right, or an error that names the damage.
void use_damaged(std::vector<std::byte> content) {
  MemoryDevice device(std::move(content));
  auto opened = Pool::open(device, quiet_options());
  if (!opened.ok()) {
    EXPECT_EQ(opened.error().code, EUCLEAN) << opened.error().what;
    return;
  }
  Pool& pool = **opened;
  const auto allowed = [](const Status& status) {
    EXPECT_TRUE(status.ok() || status.error().code == EUCLEAN || status.error().code == ENOENT) << status.error().what;
    return status.ok();
  };
  for (const DeviceId id : {1u, 2u, 79u}) {
    for (std::uint64_t chunk = 0; chunk < 600; chunk += 7) {
      std::vector<std::byte> data(512);
      if (allowed(pool.read(id, chunk * kSmallChunk, data))) {
        EXPECT_EQ(value_of(data), id == 2 && chunk == 0 ? 4711 : chunk + 1) << "device " << id << " chunk " << chunk;
      }
    }
    allowed(pool.write(id, 5 * kSmallChunk, filled(4096, 5)));
    allowed(pool.discard(id, 0, 1100 * kSmallChunk));
  }
  allowed(pool.create_snapshot(900, 1));
  allowed(pool.delete_device(3));
  allowed(pool.flush());
}

class Damage : public testing::TestWithParam<BlockKind> {};
INSTANTIATE_TEST_SUITE_P(EveryKindOfBlock, Damage,
                         testing::Values(BlockKind::mapping, BlockKind::devices, BlockKind::counts, BlockKind::index),
                         [](const auto& each) {
                           std::string name = to_string(each.param);
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

TEST_P(Damage, a_flipped_bit_is_found_and_named_and_nothing_wrong_is_read) {
  static const std::vector<std::byte> whole = closed_pool();
  const auto blocks = blocks_by_kind(whole)[GetParam()];
  ASSERT_FALSE(blocks.empty());
  Rng rng(test_seed(), "damage");
  for (int round = 0; round < 12; ++round) {
    const std::uint64_t number = blocks[rng.below(blocks.size())];
    const std::uint64_t bit = rng.below(kBlockBytes * 8);
    SCOPED_TRACE(fmt::format("bit {} of block {}", bit, number));
    auto damaged = whole;
    damaged[number * kBlockBytes + bit / 8] ^= std::byte{1} << bit % 8;
    MemoryDevice device(damaged);
    const auto report = check_pool(device);
    EXPECT_THAT(report.findings, testing::Contains(testing::AllOf(
                                     testing::HasSubstr(fmt::format("metadata block {} ({}) is damaged", number, to_string(GetParam()))),
                                     testing::HasSubstr("wrong checksum"))));
    use_damaged(std::move(damaged));
  }
}

TEST_P(Damage, a_block_in_another_s_place_is_found_although_its_checksum_is_right) {
  const std::vector<std::byte> whole = closed_pool();
  const auto kinds = blocks_by_kind(whole);
  const std::uint64_t number = kinds.at(GetParam()).front();
  const std::uint64_t other = kinds.at(GetParam() == BlockKind::mapping ? BlockKind::counts : BlockKind::mapping).back();
  auto damaged = whole;
  std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(other * kBlockBytes), kBlockBytes,
              damaged.begin() + static_cast<std::ptrdiff_t>(number * kBlockBytes));
  MemoryDevice device(damaged);
  EXPECT_THAT(check_pool(device).findings, testing::Contains(testing::HasSubstr(fmt::format("it says to be block {}", other))));
  use_damaged(std::move(damaged));
}

TEST(Damaged, wrong_counts_are_found_although_every_checksum_is_right) {
  std::vector<std::byte> content = closed_pool();
  const std::uint64_t number = blocks_by_kind(content)[BlockKind::counts].back();
  auto* block = content.data() + number * kBlockBytes;
  reinterpret_cast<std::uint32_t*>(block + sizeof(BlockHeader))[3] += 1;
  const std::uint64_t checksum = block_checksum(block);
  std::memcpy(block, &checksum, sizeof(checksum));
  MemoryDevice device(std::move(content));
  EXPECT_THAT(check_pool(device).findings, testing::ElementsAre(testing::HasSubstr("references, the space map counts")));
}

TEST(Damaged, one_torn_superblock_is_survived_and_two_are_named) {
  const std::vector<std::byte> whole = closed_pool();
  for (const std::uint64_t slot : {0u, 1u}) {
    auto torn = whole;
    std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(slot * kBlockBytes + 64), 512, std::byte{0x55});
    MemoryDevice device(torn);
    const auto report = check_pool(device);
    EXPECT_THAT(report.findings, testing::IsEmpty());
    EXPECT_THAT(report.notes, testing::ElementsAre(testing::HasSubstr(fmt::format("superblock slot {}: wrong checksum", slot))));
    const auto pool = must(Pool::open(device, quiet_options()));
    std::vector<std::byte> data(4096);
    must(pool->read(2, 0, data));
    EXPECT_EQ(value_of(data), 4711u);
  }
  auto both = whole;
  both[100] ^= std::byte{1};
  both[kBlockBytes + 100] ^= std::byte{1};
  MemoryDevice device(both);
  const auto opened = Pool::open(device, quiet_options());
  ASSERT_EQ(code_of(opened), EUCLEAN);
  EXPECT_THAT(opened.error().what, testing::HasSubstr("slot 0: wrong checksum; slot 1: wrong checksum"));
  MemoryDevice blank(kMiB);
  EXPECT_THAT(Pool::open(blank, {}).error().what, testing::HasSubstr("there is no thin pool"));
}

TEST(Damaged, a_device_that_shrank_is_named_and_left_as_it_is) {
  const std::vector<std::byte> whole = closed_pool();
  MemoryDevice device({whole.begin(), whole.end() - kMiB});
  const auto opened = Pool::open(device, quiet_options());
  ASSERT_EQ(code_of(opened), ENOSPC);
  EXPECT_THAT(opened.error().what, testing::HasSubstr("the device has shrunk"));
  EXPECT_TRUE(std::equal(device.bytes().begin(), device.bytes().end(), whole.begin())) << "grown back, it is whole";
}

TEST(Damaged, a_device_that_shrinks_under_an_open_pool_fails_what_it_lost_and_keeps_what_is_acknowledged) {
  TestPool test;
  must(test.pool->create_device(1, 8 * kMiB));
  test.write(1, 0, 8 * kMiB, 1);
  must(test.pool->flush());
  const std::vector<std::byte> whole = test.device->bytes();
  const std::uint64_t last = 8 * kMiB - kSmallChunk;
  test.device->bytes().resize(whole.size() / 2);
  std::vector<std::byte> data(4096);
  EXPECT_NE(code_of(test.pool->read(1, last, data)), 0);
  EXPECT_NE(code_of(test.pool->write(1, last, filled(4096, 3))), 0);
  EXPECT_EQ(test.read(1, 0), 1u);
  test.write(1, 0, 4096, 2);
  must(test.pool->flush());
  test.device->bytes().insert(test.device->bytes().end(), whole.begin() + static_cast<std::ptrdiff_t>(whole.size() / 2),
                              whole.end());
  test.reopen();
  EXPECT_EQ(test.read(1, 0), 2u);
  EXPECT_EQ(test.read(1, last), 1u);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Damaged, a_metadata_write_that_fails_stops_writing_but_not_reading) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  test.write(1, 0, 4096, 1);
  must(test.pool->flush());
  test.write(1, kSmallChunk, 4096, 2);
  test.device->cut_power_after(0);
  EXPECT_EQ(code_of(test.pool->flush()), EIO);
  EXPECT_EQ(code_of(test.pool->write(1, 0, filled(4096, 3))), EIO);
  EXPECT_EQ(code_of(test.pool->flush()), EIO) << "it stays failed";
  EXPECT_THAT(test.pool->statistics().failure, testing::HasSubstr("no power"));
}

TEST(Damaged, a_broken_medium_under_data_concerns_that_chunk_alone) {
  TestPool test;
  must(test.pool->create_device(1, kMiB));
  test.write(1, 0, 2 * kSmallChunk, 1);
  must(test.pool->flush());
  const Superblock superblock = must(Metadata::open(*test.device, kMiB))->superblock();
  test.device->break_range(superblock.data_offset, 512);
  std::vector<std::byte> data(512);
  EXPECT_EQ(code_of(test.pool->read(1, 0, data)), EIO);
  EXPECT_EQ(test.read(1, kSmallChunk), 1u);
  test.write(1, kSmallChunk, 4096, 2);
  must(test.pool->flush());
}

TEST(Full, data_space_says_so_keeps_what_was_acknowledged_and_recovers_by_discards) {
  TestPool test(4 * kMiB);
  must(test.pool->create_device(1, 16 * kMiB));
  std::uint64_t written = 0;
  int code = 0;
  while (code == 0) {
    code = code_of(test.pool->write(1, written * kSmallChunk, filled(kSmallChunk, written + 1)));
    written += code == 0 ? 1 : 0;
  }
  EXPECT_EQ(code, ENOSPC);
  EXPECT_EQ(written, test.pool->statistics().data_chunks);
  must(test.pool->flush());
  EXPECT_EQ(code_of(test.pool->write(1, 0, filled(4096, 77))), 0) << "overwriting takes no space";
  test.reopen();
  EXPECT_EQ(test.read(1, 0), 77u);
  for (std::uint64_t chunk = 1; chunk < written; ++chunk) {
    ASSERT_EQ(test.read(1, chunk * kSmallChunk), chunk + 1);
  }
  EXPECT_THAT(test.findings(), testing::IsEmpty());
  must(test.pool->create_snapshot(2, 1));
  const auto refused = test.pool->write(2, 0, filled(4096, 5));
  ASSERT_EQ(code_of(refused), ENOSPC);
  EXPECT_THAT(refused.error().what, testing::HasSubstr("out of data space"));
  must(test.pool->discard(1, kSmallChunk, kSmallChunk));
  must(test.pool->discard(2, kSmallChunk, kSmallChunk));
  test.write(2, 0, 4096, 5);
  EXPECT_EQ(test.read(1, 0), 77u);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Full, metadata_space_says_so_keeps_everything_and_recovers_by_deleting) {
  FormatOptions format;
  format.metadata_bytes = 512 * kKiB;
  TestPool test(64 * kMiB, format);
  must(test.pool->create_device(0, 800 * kSmallChunk));
  for (std::uint64_t chunk = 0; chunk < 800; ++chunk) {
    test.write(0, chunk * kSmallChunk, 512, chunk + 1);
  }
  Status done;
  DeviceId last = 0;
  while (done.ok()) {
    done = test.pool->create_snapshot(last + 1, last);
    if (done.ok()) {
      ++last;
      done = test.pool->write(last, (last * 97 % 800) * kSmallChunk, filled(512, 10'000 + last));
    }
  }
  EXPECT_EQ(done.error().code, ENOSPC);
  EXPECT_THAT(done.error().what, testing::HasSubstr("metadata space is full"));
  EXPECT_GT(last, 2u);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
  test.reopen();
  EXPECT_EQ(test.read(1, 97 * kSmallChunk, 512), 10'001u);
  EXPECT_EQ(test.read(0, 97 * kSmallChunk, 512), 98u);
  for (DeviceId id = 1; id <= last; ++id) {
    must(test.pool->delete_device(id));
  }
  must(test.pool->create_snapshot(1, 0));
  test.write(1, 0, 512, 5);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Full, a_queued_write_waits_for_space_that_another_thread_frees) {
  OpenOptions options = quiet_options();
  options.when_full = WhenFull::queue;
  TestPool test(4 * kMiB, {}, options);
  must(test.pool->create_device(1, 16 * kMiB));
  const std::uint64_t chunks = test.pool->statistics().data_chunks;
  test.write(1, 0, chunks * kSmallChunk, 1);
  Status late;
  std::thread writer([&] { late = test.pool->write(1, chunks * kSmallChunk, filled(4096, 2)); });
  while (test.pool->statistics().waiting_writes == 0) {
    std::this_thread::yield();
  }
  test.write(1, kSmallChunk, 4096, 3);  // needs no chunk, and does not wait
  EXPECT_EQ(test.read(1, kSmallChunk), 3u);
  must(test.pool->discard(1, 0, kSmallChunk));
  must(test.pool->flush());
  writer.join();
  must(late);
  EXPECT_EQ(test.read(1, chunks * kSmallChunk), 2u);
  EXPECT_EQ(test.pool->statistics().waiting_writes, 0u);
}

TEST(Full, queued_writes_fail_when_their_time_is_over_and_later_ones_at_once_until_space_comes_free) {
  OpenOptions options = quiet_options();
  options.when_full = WhenFull::queue;
  options.queue_patience_ms = 50;
  TestPool test(4 * kMiB, {}, options);
  must(test.pool->create_device(1, 16 * kMiB));
  const std::uint64_t chunks = test.pool->statistics().data_chunks;
  test.write(1, 0, chunks * kSmallChunk, 1);
  EXPECT_EQ(code_of(test.pool->write(1, chunks * kSmallChunk, filled(4096, 2))), ENOSPC);
  EXPECT_EQ(test.pool->statistics().writes_waited, 1u);
  EXPECT_EQ(code_of(test.pool->write(1, chunks * kSmallChunk, filled(4096, 2))), ENOSPC);
  EXPECT_EQ(test.pool->statistics().writes_waited, 1u);
  must(test.pool->discard(1, 0, kSmallChunk));
  test.write(1, chunks * kSmallChunk, 4096, 2);
  EXPECT_EQ(code_of(test.pool->write(1, 0, filled(4096, 2))), ENOSPC);
  EXPECT_EQ(test.pool->statistics().writes_waited, 2u) << "there was space, so there is time again";
  EXPECT_EQ(test.read(1, kSmallChunk), 1u);
  EXPECT_THAT(test.findings(), testing::IsEmpty());
}

TEST(Full, the_low_water_mark_is_told) {
  OpenOptions options = quiet_options();
  options.low_water_chunks = 4;
  TestPool test(4 * kMiB, {}, options);
  must(test.pool->create_device(1, 16 * kMiB));
  const std::uint64_t chunks = test.pool->statistics().data_chunks;
  test.write(1, 0, (chunks - 4) * kSmallChunk, 1);
  EXPECT_FALSE(test.pool->statistics().low_water);
  test.write(1, (chunks - 4) * kSmallChunk, kSmallChunk, 1);
  EXPECT_TRUE(test.pool->statistics().low_water);
}

std::string dumped(BlockIo& device) {
  std::string text;
  must(dump_pool(device, [&text](std::string_view line) -> Status {
    text += line;
    return {};
  }));
  return text;
}

TEST(Dump, restored_after_the_metadata_was_lost_shows_the_same_data) {
  std::vector<std::byte> content = closed_pool();
  MemoryDevice device(content);
  const std::string before = dumped(device);
  std::fill_n(device.bytes().begin(), 4 * kMiB, std::byte{0xab});  // all metadata
  EXPECT_FALSE(Pool::open(device, quiet_options()).ok());
  std::istringstream text(before);
  must(restore_pool(device, text));
  EXPECT_THAT(check_pool(device).findings, testing::IsEmpty());
  const std::string after = dumped(device);
  EXPECT_EQ(after.substr(after.find('\n')), before.substr(before.find('\n'))) << "all but the transaction";
  const auto pool = must(Pool::open(device, quiet_options()));
  std::vector<std::byte> data(512);
  must(pool->read(50, 599 * kSmallChunk, data));
  EXPECT_EQ(value_of(data), 600u);
  must(pool->write(50, 0, filled(512, 1234)));
  must(pool->read(1, 0, data));
  EXPECT_EQ(value_of(data), 1u) << "chunks are still shared";
}

TEST(Dump, text_that_is_none_is_refused_before_anything_is_overwritten) {
  MemoryDevice device(closed_pool());
  const std::string whole = dumped(device);
  const auto before = device.bytes();
  std::string beyond = whole;
  beyond.replace(beyond.find("map 0+"), 6, "map 9999999+");
  for (const std::string& bad : {std::string(), std::string("hello\n"), whole.substr(0, whole.size() - 4),
                                 beyond, "thin_pool 2" + whole.substr(11)}) {
    std::istringstream text(bad);
    EXPECT_EQ(code_of(restore_pool(device, text)), EINVAL);
    EXPECT_EQ(device.bytes(), before);
  }
}

}  // namespace
}  // namespace sbench::thin_pool
