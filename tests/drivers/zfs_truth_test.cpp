// zfs_truth_test.cpp: what a first write into a clone costs the device on the real OpenZFS, by the device's counters.
//
// ZFS copies a record: 4 KiB written into a 64 MiB file of a clone read and write that record, with the blocks that lead
// to it and a group's fixed cost, when the transaction group is written. At an fsync the intent log takes them alone;
// only a dataset's very first fsync waits for a group, which makes the log. Needs a kernel with OpenZFS: here or under
// user-mode Linux (tests/vm).
#include <gmock/gmock.h>
#include <sys/wait.h>

#include "drivers/base/rng.h"
#include "drivers/leftovers.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

constexpr std::uint64_t kFileBytes = 64 * kMiB;

Variant kernel_zfs(Options options) {
  options["engine"] = "kernel";
  return {"zfs", std::move(options)};
}

void make_big_file(TestStore& store) {
  make_layer(store.driver(), "image", {},
             [](const std::filesystem::path& tree) { write_file(tree / "big", std::string(kFileBytes, 'b')); });
}

struct Cost {
  std::uint64_t at_fsync = 0;
  std::uint64_t after_group = 0;
  std::uint64_t read = 0;
};

Cost write_one_page(TestStore& store, const std::filesystem::path& file, std::uint64_t offset) {
  must(store.driver().sync());
  const Fd fd = must(open_file(file, O_WRONLY));
  const auto before = must(store.device().counters());
  EXPECT_EQ(::pwrite(fd.get(), std::string(4096, 'w').data(), 4096, static_cast<off_t>(offset)), 4096);
  EXPECT_EQ(::fsync(fd.get()), 0);
  const auto synced = must(store.device().counters()) - before;
  must(store.driver().sync());
  const auto all = must(store.device().counters()) - before;
  return {synced.bytes_written, all.bytes_written, all.bytes_read};
}

/// What a group without any data costs: metadata in two or three copies, and the labels. Measured: 390 to 410 KiB.
constexpr std::uint64_t kGroupBytesMax = 420 * kKiB;

struct Truth {
  const char* record;
  std::uint64_t record_bytes;
  std::uint64_t very_first_at_fsync;
  std::uint64_t very_first_after_group;
};

class ZfsTruth : public testing::TestWithParam<Truth> {};

INSTANTIATE_TEST_SUITE_P(RecordSizes, ZfsTruth,
                         testing::Values(Truth{"16K", 16 * kKiB, 401'408, 708'608}, Truth{"128K", 128 * kKiB, 507'904, 815'104},
                                         Truth{"1M", kMiB, 1'417'216, 1'724'416}),
                         [](const auto& each) { return std::string(each.param.record); });

TEST_P(ZfsTruth, a_first_write_reads_and_writes_its_record_whatever_the_file) {
  const auto& [record, record_bytes, at_fsync, after_group] = GetParam();
  const Variant variant = kernel_zfs({{"recordsize", record}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_big_file(store);
  must(store.driver().prepare("writer", "image"));
  store.reopen();  // nothing is cached
  auto tree = must(store.driver().mount("writer"));
  const Cost very_first = write_one_page(store, tree.path() / "big", 16 * kMiB);
  const Cost first = write_one_page(store, tree.path() / "big", 32 * kMiB);
  const Cost second = write_one_page(store, tree.path() / "big", 32 * kMiB + 8192);
  for (const auto& [name, cost] : {std::pair{"the dataset's first", very_first}, {"a first", first}, {"a second", second}}) {
    std::printf("zfs %s: %s write: %llu at fsync, %llu after the transaction group, %llu read\n", record, name,
                static_cast<unsigned long long>(cost.at_fsync), static_cast<unsigned long long>(cost.after_group),
                static_cast<unsigned long long>(cost.read));
  }
  EXPECT_NEAR(static_cast<double>(very_first.at_fsync), static_cast<double>(at_fsync), 0.15 * static_cast<double>(at_fsync));
  EXPECT_NEAR(static_cast<double>(very_first.after_group), static_cast<double>(after_group), 0.15 * static_cast<double>(after_group));
  for (const auto& cost : {first, second}) {
    EXPECT_LE(cost.at_fsync, 16 * kKiB) << "the intent log takes the 4 KiB alone";
    EXPECT_GE(cost.after_group, record_bytes);
    EXPECT_LE(cost.after_group, record_bytes + kGroupBytesMax);
  }
  EXPECT_GE(first.read, record_bytes);
  EXPECT_LE(first.read, record_bytes + 32 * kKiB) << "the record, and blocks that lead to it";
  EXPECT_EQ(second.read, 0u);
}

TEST(ZfsStore, a_limit_holds_and_compression_shrinks_text) {
  const Variant variant = kernel_zfs({{"size", "16M"}, {"compression", "lz4"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  must(store.driver().prepare("full", {}));
  auto tree = must(store.driver().mount("full"));
  std::string text;
  for (int line = 0; text.size() < 8 * kMiB; ++line) {
    text += fmt::format("line {} of a text like many others\n", line);
  }
  write_file(tree.path() / "text", text);
  const auto used = must(store.driver().usage("full")).bytes_allocated;
  EXPECT_LT(used, text.size() / 2);
  std::string noise(64 * kKiB, '\0');
  Rng rng(1, "noise");
  for (auto& byte : noise) {
    byte = static_cast<char>(rng.next());
  }
  int failure = 0;
  const Fd fd = must(open_file(tree.path() / "noise", O_WRONLY | O_CREAT));
  for (int i = 0; failure == 0 && i < 512; ++i) {
    noise[0] = static_cast<char>(i);
    failure = ::write(fd.get(), noise.data(), noise.size()) < 0 ? errno : 0;
    if (i % 64 == 63) {
      must(store.driver().sync());
    }
  }
  EXPECT_EQ(failure, EDQUOT);
}

TEST(ZfsStore, a_dead_process_pool_is_exported_and_a_live_one_stays) {
  const Variant variant = kernel_zfs({});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  EXPECT_THAT(must(undo_leftovers()), testing::IsEmpty());
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "one", "1"); });
  store.close();
  const pid_t child = ::fork();
  if (child == 0) {
    auto opened = variant.spec().open(store.device(), variant.options(), store.root());
    ::_exit(opened.ok() && ::umount2((store.root() / "store").c_str(), MNT_DETACH) == 0 ? 0 : 1);  // as a kill ends its namespace
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_THAT(must(undo_leftovers()), testing::ElementsAre(testing::StartsWith("zpool sbench-")));
  store.open();
  auto tree = must(store.driver().mount("image"));
  EXPECT_EQ(read_file(tree.path() / "one"), "1");
}

}  // namespace
}  // namespace sbench::test
