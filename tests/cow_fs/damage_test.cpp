// damage_test.cpp: a flipped bit is found and named, and never returned as data; damaged structures are errors, not crashes.
#include "drivers/cow_fs/labels.h"
#include "tests/cow_fs/history.h"

namespace sbench::cow_fs {
namespace {

using Described = std::map<std::string, std::map<std::string, std::string>>;

/// A small pool with everything in it, closed.
std::vector<std::byte> image_of_everything(Described& content) {
  TestPool pool(6 * kMiB);
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  must(files.make("dir", S_IFDIR | 0755));
  for (int i = 0; i < 120; ++i) {
    must(files.write(fmt::format("dir/file{}", i), 0, noise(100 + 37 * i, i)));
  }
  must(files.write("large", 0, noise(600'000, 1)));
  must(files.symlink("link", std::string(1500, 'l')));
  must(files.set_xattr("large", "user.large", noise(5000, 2)));
  must(pool.pool->snapshot("a", "a@1"));
  must(pool.pool->clone("a@1", "b"));
  must(pool.files("b").write("large", 100'000, noise(5000, 3)));
  must(pool.files("a").unlink("dir/file3"));
  must(pool.files("a").write("large", 300'000, noise(5000, 4)));
  must(pool.pool->sync());
  content = must(describe_pool(*pool.pool));
  EXPECT_THAT(pool.findings(), testing::IsEmpty());
  pool.mounted.clear();
  pool.pool.reset();
  return pool.device->bytes();
}

/// What reading everything says: the content, or that something is damaged.
Result<Described> read_everything(MemoryDevice& device) {
  OpenOptions options = quiet_options();
  options.read_only = true;
  SBENCH_TRY_SET(const auto pool, Pool::open(device, options));
  return describe_pool(*pool);
}

TEST(CowDamage, a_flipped_bit_in_use_is_found_and_named_and_never_returned) {
  Described content;
  const auto image = image_of_everything(content);
  std::unique_ptr<Space> space;
  LabelHeader header;
  Uberblock newest;
  {
    MemoryDevice device(image);
    header = must(read_label(device));
    newest = read_uberblocks(device, header).front();
    space = std::make_unique<Space>(header);
    must(space->load(device, newest));
  }
  std::vector<std::uint64_t> sectors;  // that matter
  for (const auto& [address, bytes] : space->used_ranges()) {
    for (std::uint64_t at = 0; at < bytes; at += kSector) {
      sectors.push_back(address + at);
    }
  }
  for (unsigned label = 0; label < 2; ++label) {
    sectors.push_back(label_offset(header.device_bytes, label));
    sectors.push_back(label_offset(header.device_bytes, label) + (1 + newest.group % kUberblocks) * kSector);
    sectors.push_back(label_offset(header.device_bytes, label) + (1 + (newest.group - 1) % kUberblocks) * kSector);
  }
  sectors.push_back(newest.table[0].address);
  EXPECT_GT(sectors.size(), 300U);
  Rng rng(test_seed(), "flips");
  rng.shuffle(sectors);
  sectors.resize(std::min<std::size_t>(sectors.size(), test_rounds(100)));
  MemoryDevice device(image);
  for (const std::uint64_t sector : sectors) {
    const std::uint64_t bit = rng.below(kSector * 8);
    SCOPED_TRACE(fmt::format("SBENCH_TEST_SEED={} sector {} bit {}", test_seed(), sector, bit));
    std::byte& damaged = device.bytes()[sector + bit / 8];
    damaged ^= std::byte{1} << (bit % 8);
    const CheckReport report = check_pool(device);
    ASSERT_FALSE(report.findings.empty() && report.notes.empty());
    const auto read = read_everything(device);
    if (read.ok()) {
      ASSERT_EQ(*read, content);
    } else {
      ASSERT_EQ(read.error().code, EUCLEAN) << read.error().what;
    }
    damaged ^= std::byte{1} << (bit % 8);
  }
}

TEST(CowDamage, sectors_of_junk_are_errors) {
  Described content;
  const auto image = image_of_everything(content);
  Rng rng(test_seed(), "junk");
  for (std::uint64_t round = 0; round < test_rounds(30); ++round) {
    MemoryDevice device(image);
    for (std::uint64_t i = 0; i < 1 + rng.below(12); ++i) {
      const std::uint64_t at = rng.below(image.size() / kSector) * kSector;
      const std::string junk = noise(kSector, rng.next());
      std::memcpy(device.bytes().data() + at, junk.data(), kSector);
    }
    static_cast<void>(check_pool(device));
    const auto read = read_everything(device);
    if (read.ok()) {
      ASSERT_EQ(*read, content);
    }
  }
}

TEST(CowDamage, no_pool_is_said_to_be_none) {
  MemoryDevice empty(8 * kMiB);
  EXPECT_EQ(code_of(Pool::open(empty, quiet_options())), EUCLEAN);
  MemoryDevice tiny(kMiB);
  EXPECT_EQ(code_of(Pool::format(tiny)), ENOSPC);
  EXPECT_FALSE(check_pool(empty).findings.empty());
}

TEST(CowDamage, lost_newest_uberblock_leaves_the_group_before) {
  TestPool pool(6 * kMiB);
  must(pool.pool->create("a", {}));
  must(pool.files("a").write("f", 0, "before"));
  must(pool.pool->sync());
  must(pool.files("a").write("f", 0, "behind"));
  must(pool.pool->sync());
  const std::uint64_t group = pool.pool->statistics().group;
  MemoryDevice device(pool.device->bytes());
  for (unsigned label = 0; label < 2; ++label) {
    device.bytes()[label_offset(device.size_bytes(), label) + (1 + group % kUberblocks) * kSector + 100] ^= std::byte{4};
  }
  OpenOptions options = quiet_options();
  options.read_only = true;
  const auto reopened = must(Pool::open(device, options));
  EXPECT_EQ(reopened->statistics().group, group - 1);
  EXPECT_EQ(must(Files(*must(DatasetFiles::open(*reopened, "a"))).read("f")), "before");
}

/// Whatever the bytes, parsing ends, with an answer.
TEST(CowDamage, parsers_survive_any_bytes) {
  Rng rng(test_seed(), "parsers");
  for (std::uint64_t round = 0; round < test_rounds(1000); ++round) {
    std::string bytes = noise(8 + rng.below(300) * 8, rng.next());
    std::string_view log = bytes;
    for (int records = 0; records < 100 && !log.empty() && unpack(log).ok(); ++records) {
    }
    if (rng.below(2) == 0) {  // a leaf, by its look
      const std::uint32_t head[] = {0x4641454c, static_cast<std::uint32_t>(rng.below(bytes.size() + 16)), 1, 0};
      std::memcpy(bytes.data(), head, std::min(sizeof(head), bytes.size()));
    }
    static_cast<void>(read_leaf(bytes_of(bytes), [](const Name&) { return true; }));
    BlockPointer pointer;
    pointer.physical_bytes = static_cast<std::uint32_t>(bytes.size());
    pointer.logical_bytes = 4096 * static_cast<std::uint32_t>(1 + rng.below(4));
    pointer.compression = Compression::lz4;
    auto physical = std::make_shared<Bytes>(bytes.size());
    std::memcpy(physical->data(), bytes.data(), bytes.size());
    pointer.checksum = fletcher4(*physical);
    static_cast<void>(decode(pointer, physical));
  }
}

}  // namespace
}  // namespace sbench::cow_fs
