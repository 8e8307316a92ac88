// zfs_truth_test.cpp: what a first write into a clone costs the device on the real OpenZFS, by the device's counters.
//
// ZFS copies a record: 4 KiB written with fsync into a 64 MiB file of a clone cost the intent log at the fsync, and the
// record with the blocks that lead to it when its transaction group is written. Needs a kernel with OpenZFS: here or
// under user-mode Linux (tests/vm).
#include <chrono>
#include <thread>

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

/// The dataset's first log block, and its accounting: not what is counted here.
void settle(TestStore& store, const std::filesystem::path& tree) {
  const Fd fd = must(open_file(tree / "settled", O_WRONLY | O_CREAT));
  must(write_all(fd.get(), "x", "settled"));
  EXPECT_EQ(::fsync(fd.get()), 0);
  must(store.driver().sync());
}

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

class ZfsTruth : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(RecordSizes, ZfsTruth, testing::Values("16K", "128K", "1M"),
                         [](const auto& each) { return std::string(each.param); });

TEST_P(ZfsTruth, a_first_write_reads_and_writes_its_record_whatever_the_file) {
  const Variant variant = kernel_zfs({{"recordsize", GetParam()}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_big_file(store);
  must(store.driver().prepare("writer", "image"));
  store.reopen();
  auto tree = must(store.driver().mount("writer"));
  settle(store, tree.path());
  const Cost first = write_one_page(store, tree.path() / "big", kFileBytes / 2);
  const Cost second = write_one_page(store, tree.path() / "big", kFileBytes / 2 + 8192);
  for (const auto& [name, cost] : {std::pair{"first", first}, std::pair{"second", second}}) {
    std::printf("zfs %s: %s write %llu at fsync, %llu after the transaction group, %llu read\n", GetParam(), name,
                static_cast<unsigned long long>(cost.at_fsync), static_cast<unsigned long long>(cost.after_group),
                static_cast<unsigned long long>(cost.read));
  }
}

}  // namespace
}  // namespace sbench::test
