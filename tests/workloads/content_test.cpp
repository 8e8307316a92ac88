// Generated content, files made of it, page-cache probing and the build cache.
#include "workloads/content/content.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "tests/support/support.h"
#include "workloads/content/build_cache.h"
#include "workloads/content/file_io.h"
#include "workloads/content/residency.h"

namespace sbench {
namespace {

std::vector<std::byte> generate(const Content& content, std::uint64_t offset, std::size_t size) {
  std::vector<std::byte> data(size);
  content.fill(offset, data);
  return data;
}

std::string sha256(std::span<const std::byte> data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

TEST(Content, IsTheSameOnEveryMachineAndInEveryRun) {
  EXPECT_EQ(sha256(generate(Content(42), 0, 100'000)),
            "e6b1635e07899963416636cbba9be65908e5766ca6be6f617be6c04e98cc7076");
}

TEST(Content, OfAnyRangeIsACutOfTheWhole) {
  const Content content(7, 30);
  const auto whole = generate(content, 0, 5000);
  Rng rng(1, "ranges");
  for (int i = 0; i < 500; ++i) {
    const std::size_t begin = rng.below(5000);
    const std::size_t size = rng.below(5000 - begin + 1);
    const auto part = generate(content, begin, size);
    ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(begin)))
        << "[" << begin << ", " << begin + size << ")";
  }
}

TEST(Content, MatchesNothingButItself) {
  const Content content(7);
  auto data = generate(content, 100, 40'000);
  EXPECT_TRUE(content.matches(100, data));
  EXPECT_FALSE(content.matches(101, data));
  EXPECT_FALSE(Content(8).matches(100, data));
  data.back() ^= std::byte{1};
  EXPECT_FALSE(content.matches(100, data));
}

/// Size of `data` after gzip.
std::size_t compressed_bytes(std::span<const std::byte> data) {
  std::vector<std::byte> packed(data.size() * 2);
  std::size_t used = 0;
  archive* const writer = archive_write_new();
  archive_entry* const entry = archive_entry_new();
  archive_entry_set_pathname(entry, "data");
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_add_filter_gzip(writer);
  archive_write_set_format_raw(writer);
  EXPECT_EQ(archive_write_open_memory(writer, packed.data(), packed.size(), &used), ARCHIVE_OK);
  EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK);
  EXPECT_EQ(archive_write_data(writer, data.data(), data.size()), static_cast<la_ssize_t>(data.size()));
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_entry_free(entry);
  archive_write_free(writer);
  return used;
}

TEST(Content, CompressesAsMuchAsAskedFor) {
  for (const unsigned percent : {0u, 25u, 50u, 75u}) {
    const auto data = generate(Content(3, percent), 0, 1 << 20);
    const double saved_percent =
        100.0 - 100.0 * static_cast<double>(compressed_bytes(data)) / static_cast<double>(data.size());
    EXPECT_NEAR(saved_percent, percent, 6.0);
  }
}

TEST(Content, HasNoBlockTwice) {
  const auto data = generate(Content(9), 0, 4 << 20);
  std::set<std::string> seen;
  for (std::size_t offset = 0; offset < data.size(); offset += 4096) {
    EXPECT_TRUE(seen.insert(sha256(std::span(data).subspan(offset, 4096))).second);
  }
}

TEST(VerifyFile, AcceptsAFileAndItsPatchAndNamesWhatDiffers) {
  const testing::TemporaryFolder folder;
  const Content base(1);
  for (const std::uint64_t size : {std::uint64_t{10'000}, 20 * kMiB}) {
    const auto path = folder.path() / std::to_string(size);
    ASSERT_TRUE(make_file(path, base, size).ok());
    EXPECT_TRUE(verify_file(path, base, size).ok());
    EXPECT_FALSE(verify_file(path, base, size + 1).ok());
    EXPECT_FALSE(verify_file(path, Content(2), size).ok());

    const Patch patch{size / 2, 100, Content(5)};
    const Status unpatched = verify_file(path, base, size, patch);
    ASSERT_FALSE(unpatched.ok());
    EXPECT_EQ(unpatched.error().code, EILSEQ);
    EXPECT_NE(unpatched.error().what.find(path.string()), std::string::npos);

    const auto fd = open_file(path, O_WRONLY);
    ASSERT_TRUE(write_range((*fd).get(), patch.content, patch.offset, patch.size_bytes, path).ok());
    EXPECT_TRUE(verify_file(path, base, size, patch).ok());
    EXPECT_FALSE(verify_file(path, base, size).ok());
    EXPECT_EQ(*read_through(path), size);
  }
}

TEST(ResidentBytes, CountsWhatIsInThePageCache) {
  const testing::TemporaryFolder folder;
  const auto path = folder.path() / "file";
  ASSERT_TRUE(make_file(path, Content(1), kMiB + 1).ok());
  EXPECT_EQ(*resident_bytes(path), kMiB + 4096);
  ASSERT_TRUE(fsync_path(path).ok());
  const auto fd = open_file(path, O_RDONLY);
  ASSERT_EQ(::posix_fadvise((*fd).get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(*resident_bytes(path), 0u);
  EXPECT_EQ(resident_bytes(folder.path() / "absent").error().code, ENOENT);
}

TEST(BuildCache, KeyDependsOnParentInstructionAndContent) {
  const auto key = BuildCache::key("parent", "RUN make", "sum");
  EXPECT_EQ(key.size(), 64u);
  EXPECT_EQ(key, BuildCache::key("parent", "RUN make", "sum"));
  EXPECT_NE(key, BuildCache::key("other", "RUN make", "sum"));
  EXPECT_NE(key, BuildCache::key("parent", "RUN test", "sum"));
  EXPECT_NE(key, BuildCache::key("parent", "RUN make", "mus"));
  EXPECT_NE(BuildCache::key("a", "bc", ""), BuildCache::key("ab", "c", ""));
}

TEST(BuildCache, CountsHitsAndMisses) {
  BuildCache cache;
  EXPECT_FALSE(cache.find("k"));
  cache.insert("k", "layer");
  EXPECT_EQ(cache.find("k"), "layer");
  EXPECT_EQ(cache.hits(), 1u);
  EXPECT_EQ(cache.misses(), 1u);
}

}  // namespace
}  // namespace sbench
