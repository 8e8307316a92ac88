// Units, random numbers, hashes, processes and files: the ground everything stands on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/process.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

TEST(Units, sizes_are_read_as_people_write_them) {
  EXPECT_EQ(parse_size("4096", "x"), 4096u);
  EXPECT_EQ(parse_size("64K", "x"), 65536u);
  EXPECT_EQ(parse_size("64k", "x"), 65536u);
  EXPECT_EQ(parse_size("16MiB", "x"), 16 * kMiB);
  EXPECT_EQ(parse_size("8G", "x"), 8 * kGiB);
  EXPECT_EQ(parse_size("1TB", "x"), 1024 * kGiB);
  EXPECT_EQ(parse_size("512B", "x"), 512u);
}

TEST(Units, what_is_no_size_is_refused_with_its_name) {
  for (const char* bad : {"", "K", "4 K", "4X", "-1", "4KK", "99999999999999999999", "20000000000G", "0x10"}) {
    try {
      static_cast<void>(parse_size(bad, "--image-size"));
      ADD_FAILURE() << "accepted '" << bad << "'";
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("--image-size"), std::string::npos);
    }
  }
}

TEST(Units, format_size_is_read_back_by_parse_size) {
  Rng rng(7);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t size = rng.next() >> rng.below(63);
    EXPECT_EQ(parse_size(format_size(size), "x"), size);
  }
  EXPECT_EQ(format_size(65536), "64K");
  EXPECT_EQ(format_size(0), "0");
}

TEST(Units, durations_add_up) {
  EXPECT_EQ(parse_duration_s("90", "x"), 90u);
  EXPECT_EQ(parse_duration_s("10m", "x"), 600u);
  EXPECT_EQ(parse_duration_s("1h30m", "x"), 5400u);
  EXPECT_THROW(static_cast<void>(parse_duration_s("", "x")), UsageError);
  EXPECT_THROW(static_cast<void>(parse_duration_s("ten", "x")), UsageError);
  EXPECT_THROW(static_cast<void>(parse_duration_s("5d", "x")), UsageError);
}

TEST(Units, people_read_human_figures) {
  EXPECT_EQ(human_size(512), "512 B");
  EXPECT_EQ(human_size(64.0 * kMiB), "64.0 MiB");
  EXPECT_EQ(human_duration(0.0418), "41.8 ms");
  EXPECT_EQ(human_duration(760), "12m40s");
}

TEST(Error, a_name_from_elsewhere_neither_breaks_the_line_nor_commands_a_terminal) {
  const std::string name = "caf\xc3\xa9\n\x1b[2J\x7f";
  EXPECT_EQ(plain_error(EINVAL, "the name {}", name).what, "the name caf\xc3\xa9??[2J?");
  EXPECT_EQ(make_error(ENOENT, "cannot open {}", name).what, "cannot open caf\xc3\xa9??[2J?: No such file or directory");
  EXPECT_STREQ(UsageError("no driver {}", name).what(), "no driver caf\xc3\xa9??[2J?");
}

TEST(Rng, a_seed_and_a_stream_give_the_same_numbers_everywhere) {
  Rng first(20261102, "content");
  Rng second(20261102, "content");
  Rng other(20261102, "order");
  const std::uint64_t value = first.next();
  EXPECT_EQ(value, second.next());
  EXPECT_NE(value, other.next());
  EXPECT_EQ(value, 12283374964609815574ULL) << "stored results depend on this stream";
}

TEST(Rng, below_covers_its_range_evenly) {
  Rng rng(1);
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; ++i) {
    ++counts[rng.below(10)];
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, 10000, 500);
  }
}

TEST(Rng, shuffle_permutes) {
  Rng rng(3);
  std::vector<int> items(100);
  for (int i = 0; i < 100; ++i) {
    items[static_cast<std::size_t>(i)] = i;
  }
  const auto before = items;
  rng.shuffle(items);
  EXPECT_NE(items, before);
  EXPECT_EQ(std::set<int>(items.begin(), items.end()).size(), 100u);
}

TEST(Hash, sha256_matches_the_standard_vector) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 parts;
  parts.update("a");
  parts.update("bc");
  EXPECT_EQ(parts.finish(), sha256_hex("abc"));
}

TEST(Process, output_and_exit_code_come_back) {
  const auto output = run_program({"sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->exit_code, 3);
  EXPECT_EQ(output->stdout_text, "out\n");
  EXPECT_EQ(output->stderr_text, "err\n");
}

TEST(Process, a_failing_program_is_quoted) {
  const auto output = run_checked({"sh", "-c", "echo first >&2; echo the reason >&2; exit 1"});
  ASSERT_FALSE(output.ok());
  EXPECT_NE(output.error().what.find("the reason"), std::string::npos);
  EXPECT_FALSE(run_checked({"no-such-program-anywhere"}).ok());
}

TEST(Process, large_output_on_both_streams_does_not_block) {
  const auto output = run_program({"sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->stdout_text.size(), 1000000u);
  EXPECT_EQ(output->stderr_text.size(), 1000000u);
}

TEST(File, write_text_atomic_replaces_the_whole_file) {
  const testing::TemporaryFolder folder;
  const auto path = folder.path() / "file";
  ASSERT_TRUE(write_text_atomic(path, "one").ok());
  ASSERT_TRUE(write_text_atomic(path, "two").ok());
  EXPECT_EQ(read_trimmed(path), "two");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "file.tmp"));
}

TEST(File, remove_tree_does_not_follow_links) {
  const testing::TemporaryFolder folder;
  const auto kept = folder.path() / "kept";
  ASSERT_TRUE(make_directories(kept).ok());
  ASSERT_TRUE(write_text_atomic(kept / "file", "x").ok());
  ASSERT_TRUE(make_directories(folder.path() / "gone/deep").ok());
  std::filesystem::create_symlink(kept, folder.path() / "gone/deep/link");
  ASSERT_TRUE(remove_tree(folder.path() / "gone").ok());
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "gone"));
  EXPECT_TRUE(std::filesystem::exists(kept / "file"));
  EXPECT_TRUE(remove_tree(folder.path() / "never").ok());
}

}  // namespace
}  // namespace sbench
