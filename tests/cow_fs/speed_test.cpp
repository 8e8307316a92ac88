// What keeps cow_fs fast, by counts instead of times.
#include <filesystem>

#include "drivers/base/fd.h"
#include "drivers/block/direct_device.h"
#include "tests/cow_fs/pool_test.h"

namespace sbench::cow_fs {
namespace {

using testing::IsEmpty;

TEST(CowSpeed, checksum_in_lanes_is_that_of_the_words_in_order) {
  for (const std::size_t bytes : {4U, 12U, 16U, 36U, 4092U, 4096U, 131072U}) {
    const std::string text = noise(bytes, bytes);
    Checksum plain{};
    for (std::size_t at = 0; at < bytes; at += 4) {
      plain[0] += load<std::uint32_t>(bytes_of(text).data() + at);
      plain[1] += plain[0];
      plain[2] += plain[1];
      plain[3] += plain[2];
    }
    EXPECT_EQ(fletcher4(bytes_of(text)), plain) << bytes;
  }
}

TEST(CowSpeed, what_a_sequential_writer_leaves_behind_is_written_while_it_goes_on) {
  TestPool pool(64 * kMiB);
  must(pool.pool->create("a", {}));
  const std::string text = noise(12 * kMiB, 1);
  for (int round = 0; round < 2; ++round) {  // the second time in place
    const std::uint64_t before = pool.device->bytes_written();
    for (std::size_t at = 0; at < text.size(); at += 96 * kKiB) {
      must(pool.files("a").write("file", at, std::string_view(text).substr(at, 96 * kKiB)));
    }
    EXPECT_GE(pool.device->bytes_written() - before, 7 * kMiB);
    EXPECT_EQ(must(pool.files("a").read("file")), text);
    // A power loss now loses the group, not the pool.
    MemoryDevice copy(pool.device->bytes());
    EXPECT_THAT(check_pool(copy).findings, IsEmpty());
    EXPECT_THAT(pool.findings(), IsEmpty());
    EXPECT_LE(pool.device->bytes_written() - before, 13 * kMiB);
  }
  pool.reopen();
  EXPECT_EQ(must(pool.files("a").read("file")), text);
}

TEST(CowSpeed, first_write_and_its_fsync_read_neither_the_record_nor_the_way_to_it) {
  TestPool pool(64 * kMiB);
  must(pool.pool->create("a", {}));
  std::string text = noise(20 * kMiB, 1);
  must(pool.files("a").write("file", 0, text));
  must(pool.files("a").write("file", 41 * kMiB, "behind a hole"));
  text.resize(41 * kMiB);
  text += "behind a hole";
  pool.reopen();
  Files files = pool.files("a");
  const auto node = must(files.find("file"));
  const std::uint64_t before = pool.device->bytes_read();
  for (const std::uint64_t at : {7 * kMiB + 100, 30 * kMiB + 5}) {  // a record, and a hole
    must(files.write("file", at, "new"));
    text.replace(at, 3, "new");
    must(files.raw().sync_file(node, 0, false));
  }
  EXPECT_EQ(pool.device->bytes_read(), before);
  EXPECT_EQ(must(files.read("file")), text);
  must(files.write("file", 8 * kMiB + 100, "newer"));
  text.replace(8 * kMiB + 100, 5, "newer");
  pool.reopen();
  EXPECT_EQ(must(pool.files("a").read("file")), text);
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowSpeed, writes_that_go_on_are_all_there_when_finished) {
  std::string path = "/var/tmp/sbench-test-XXXXXX";
  const Fd fd(::mkstemp(path.data()));
  ASSERT_GE(fd.get(), 0);
  ASSERT_EQ(::ftruncate(fd.get(), 8 * kMiB), 0);
  auto device = DirectDevice::open(path);
  std::filesystem::remove(path);
  if (!device.ok()) {
    GTEST_SKIP() << "no O_DIRECT here: " << device.error().what;
  }
  std::vector<Bytes> pieces;
  std::vector<BlockIo::Transfer> transfers;
  std::uint64_t at = 0;
  for (const std::uint64_t bytes : {4096U, 131072U, 1048576U, 8192U, 131072U, 524288U, 524288U, 4096U}) {
    const std::string text = noise(bytes, pieces.size());
    pieces.emplace_back(bytes_of(text).begin(), bytes_of(text).end());
    at += pieces.size() == 4 ? kMiB : 0;  // not all side by side
    transfers.push_back({at, pieces.back()});
    at += bytes;
  }
  for (const bool later : {false, true}) {
    must(later ? (*device)->begin_writes(transfers) : (*device)->write_all(transfers));
    must((*device)->finish_writes());
    for (const auto& transfer : transfers) {
      Bytes seen(transfer.data.size());
      must((*device)->read(transfer.offset, seen));
      EXPECT_TRUE(std::equal(seen.begin(), seen.end(), transfer.data.begin())) << transfer.offset;
    }
    must((*device)->write(0, zeroed(4 * kMiB)));
  }
}

/// What something costs the device, cold: bytes read and written.
struct Cost {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
};
template <typename Work>
Cost cost_of(TestPool& pool, Work&& work) {
  must(pool.pool->sync());
  pool.pool->drop_cache();
  const Cost before{pool.device->bytes_read(), pool.device->bytes_written()};
  work();
  must(pool.pool->sync());
  return {pool.device->bytes_read() - before.read, pool.device->bytes_written() - before.written};
}

TEST(CowSpeed, snapshots_and_clones_cost_the_same_whatever_they_hold_and_destroying_what_is_freed) {
  DatasetOptions options;
  options.record_bytes = 4096;  // many blocks
  std::map<std::uint64_t, Cost> copied, freed;
  for (const std::uint64_t size : {64 * kKiB, 16 * kMiB}) {
    TestPool pool(64 * kMiB);
    must(pool.pool->create("a", options));
    must(pool.files("a").write("file", 0, noise(size, 1)));
    pool.unmount("a");
    copied[size] = cost_of(pool, [&] {
      must(pool.pool->snapshot("a", "a@1"));
      must(pool.pool->clone("a@1", "b"));
    });
    must(pool.files("b").write("file", 0, noise(32 * kKiB, 2)));
    pool.unmount("b");
    freed[size] = cost_of(pool, [&] { must(pool.pool->destroy("b")); });
    if (size == 16 * kMiB) {
      must(pool.pool->destroy("a@1"));
      const Cost all = cost_of(pool, [&] { must(pool.pool->destroy("a")); });
      EXPECT_GT(all.read, 4 * freed[size].read);  // 4096 pointers and more, instead of some
      EXPECT_LT(all.read, 2 * kMiB);              // but no data
      EXPECT_THAT(pool.findings(), IsEmpty());
    }
  }
  EXPECT_EQ(copied[16 * kMiB].written, copied[64 * kKiB].written);
  EXPECT_LE(copied[16 * kMiB].read, copied[64 * kKiB].read + 64 * kKiB);
  EXPECT_LE(freed[16 * kMiB].written, freed[64 * kKiB].written + 64 * kKiB);
  EXPECT_LE(freed[16 * kMiB].read, freed[64 * kKiB].read + 64 * kKiB);
}

}  // namespace
}  // namespace sbench::cow_fs
