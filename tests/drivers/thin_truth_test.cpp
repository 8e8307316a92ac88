// thin_truth_test.cpp: what a first write to a dm-thin snapshot costs the device, by its own counters.
//
// The real dm-thin copies a whole chunk, whatever the file's size: 4 KiB written
// with fsync into a 64 MiB file cost 64 KiB read and some 120 KB written with
// 64 KiB chunks, eight times that with 512 KiB; a second write to the chunk, and a
// layer deeper down, cost nothing more. Needs a kernel with dm-thin: here or under
// user-mode Linux (tests/vm).
#include <algorithm>
#include <map>
#include <thread>

#include "drivers/leftovers.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

constexpr std::uint64_t kFileBytes = 64 * kMiB;

Variant kernel_thin(std::map<std::string, std::string> options) {
  options["engine"] = "kernel";
  return {"devicemapper", {options.begin(), options.end()}};
}

struct Bytes {
  std::uint64_t written = 0;
  std::uint64_t read = 0;
};

/// Writes 4 KiB at `offset` of the container's 64 MiB file, synced, and counts. The file's time changes with
/// each: within one tick of the clock ext4 would have nothing to put into its journal.
Bytes write_one_page(TestStore& store, const std::filesystem::path& file, std::uint64_t offset) {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const Fd fd = must(open_file(file, O_WRONLY));
  const auto before = must(store.device().counters());
  EXPECT_EQ(::pwrite(fd.get(), std::string(4096, 'w').data(), 4096, static_cast<off_t>(offset)), 4096);
  EXPECT_EQ(::fsync(fd.get()), 0);
  const auto spent = must(store.device().counters()) - before;
  return {spent.bytes_written, spent.bytes_read};
}

/// The file system's own first transaction breaks the sharing of its journal's chunk: not what is counted here.
void settle(TestStore& store, const std::filesystem::path& tree) {
  const Fd fd = must(open_file(tree / "settled", O_WRONLY | O_CREAT));
  must(write_all(fd.get(), "x", "settled"));
  EXPECT_EQ(::fsync(fd.get()), 0);
  must(store.driver().sync());
}

void make_big_file(TestStore& store) {
  make_layer(store.driver(), "image", {},
             [](const std::filesystem::path& tree) { write_file(tree / "big", std::string(kFileBytes, 'b')); });
}

struct Truth {
  const char* chunk;
  std::uint64_t written;
  std::uint64_t read;
};

class ThinTruth : public testing::TestWithParam<Truth> {};

INSTANTIATE_TEST_SUITE_P(Chunks, ThinTruth, testing::Values(Truth{"64K", 122'880, 65'536}, Truth{"512K", 577'536, 524'288}),
                         [](const auto& each) { return std::string(each.param.chunk); });

TEST_P(ThinTruth, a_first_write_copies_its_chunk_and_a_second_one_does_not) {
  const Variant variant = kernel_thin({{"dm.blocksize", GetParam().chunk}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_big_file(store);
  must(store.driver().prepare("writer", "image"));
  auto tree = must(store.driver().mount("writer"));
  settle(store, tree.path());
  const Bytes first = write_one_page(store, tree.path() / "big", kFileBytes / 2);
  const Bytes second = write_one_page(store, tree.path() / "big", kFileBytes / 2 + 8192);
  std::printf("dm-thin %s: first write %llu written, %llu read; second %llu written, %llu read\n", GetParam().chunk,
              static_cast<unsigned long long>(first.written), static_cast<unsigned long long>(first.read),
              static_cast<unsigned long long>(second.written), static_cast<unsigned long long>(second.read));
  EXPECT_NEAR(static_cast<double>(first.written), static_cast<double>(GetParam().written), 0.15 * GetParam().written);
  EXPECT_NEAR(static_cast<double>(first.read), static_cast<double>(GetParam().read), 0.15 * GetParam().read);
  EXPECT_LE(second.written, 32u * 1024) << "a page, its inode and the journal";
  EXPECT_EQ(second.read, 0u);
}

TEST(ThinTruth, a_first_write_ten_snapshots_deep_costs_what_it_costs_one_deep) {
  const Variant variant = kernel_thin({});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_big_file(store);
  std::map<int, Bytes> spent;
  std::string parent = "image";
  for (int depth = 1; depth <= 10; ++depth) {
    const std::string name = "layer-" + std::to_string(depth);
    must(store.driver().prepare(name, parent));
    if (depth == 1 || depth == 10) {
      auto tree = must(store.driver().mount(name));
      settle(store, tree.path());
      spent[depth] = write_one_page(store, tree.path() / "big", static_cast<std::uint64_t>(depth) * kMiB);
      must(tree.release());
    }
    must(store.driver().commit(name, name));
    parent = name;
  }
  EXPECT_NEAR(static_cast<double>(spent[1].written), static_cast<double>(spent[10].written), 0.15 * spent[1].written);
  EXPECT_EQ(spent[1].read, spent[10].read);
}

TEST(ThinTruth, usage_counts_the_chunks_allocated_since_the_layer_was_made) {
  const Variant variant = kernel_thin({});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_big_file(store);
  EXPECT_GE(must(store.driver().usage("image")).bytes_allocated, kFileBytes);
  must(store.driver().prepare("writer", "image"));
  const auto untouched = must(store.driver().usage("writer")).bytes_allocated;
  {
    auto tree = must(store.driver().mount("writer"));
    const Fd fd = must(open_file(tree.path() / "big", O_WRONLY));
    for (std::uint64_t offset = 0; offset < kFileBytes; offset += 8 * kMiB) {
      ASSERT_EQ(::pwrite(fd.get(), "w", 1, static_cast<off_t>(offset)), 1);
    }
  }
  const auto touched = must(store.driver().usage("writer")).bytes_allocated;
  EXPECT_EQ(untouched, 0u);
  EXPECT_GE(touched, 8u * 64 * kKiB);
  EXPECT_LE(touched, 8u * 64 * kKiB + 16u * 64 * kKiB) << "eight chunks of the file, and those of the file system's metadata";
}

TEST(ThinTruth, no_layer_is_made_below_the_free_space_floor) {
  const Variant variant = kernel_thin({{"dm.min_free_space", "60%"}, {"dm.basesize", "600M"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant, 512 * kMiB);
  make_layer(store.driver(), "image", {},
             [](const std::filesystem::path& tree) { write_file(tree / "big", std::string(250 * kMiB, 'b')); });
  const auto refused = store.driver().prepare("writer", "image");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ENOSPC);
  EXPECT_NE(refused.error().what.find("dm.min_free_space"), std::string::npos) << refused.error().what;
  must(store.driver().remove("image"));
  must(store.driver().prepare("writer", {}));
}

TEST(ThinTruth, a_device_in_use_goes_with_its_last_user) {
  const Variant variant = kernel_thin({});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "one", "1"); });
  {
    auto tree = must(store.driver().mount("image"));
    must(tree.release());
  }
  store.close();
  const auto entries = std::distance(std::filesystem::directory_iterator("/dev/mapper"), {});
  EXPECT_EQ(entries, 1) << "only /dev/mapper/control is left";
  EXPECT_TRUE(must(undo_leftovers()).empty());
}


std::string row_of(TestStore& store, const std::string& name) {
  for (const auto& [row, value] : store.driver().status()) {
    if (row == name) {
      return value;
    }
  }
  return "";
}

class PoolShapes : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(ThinTruth, PoolShapes, testing::Values("device", "direct-lvm", "loop-lvm"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(PoolShapes, keeps_its_layers_over_reopening_and_goes_without_a_trace) {
  const Variant variant = kernel_thin({{"pool", GetParam()}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant);
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "file", "kept"); });
  const bool lvm = std::string(GetParam()) == "direct-lvm";
  EXPECT_EQ(row_of(store, "Pool Blocksize"), lvm ? "512K" : "64K");
  EXPECT_EQ(row_of(store, "Discard on delete"), lvm ? "false" : "true");
  store.reopen();
  EXPECT_EQ(read_file(must(store.driver().mount("image")).path() / "file"), "kept");
  must(store.driver().remove("image"));
  store.close();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator("/dev/mapper"), {}), 1) << "only /dev/mapper/control is left";
  must(variant.spec().format(store.device(), variant.options()));  // nothing holds the device
}

TEST(ThinTruth, xfs_on_thin_devices_works) {
  const Variant variant = kernel_thin({{"dm.fs", "xfs"}});
  SBENCH_SKIP_UNLESS_AVAILABLE(variant);
  TestStore store(variant, 2 * kGiB);
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "file", "below"); });
  must(store.driver().prepare("writer", "image"));
  auto image = must(store.driver().mount("image"));
  auto tree = must(store.driver().mount("writer"));  // beside its origin: the same UUID twice
  write_file(tree.path() / "file", "above");
  EXPECT_EQ(read_file(image.path() / "file"), "below");
}

}  // namespace
}  // namespace sbench::test
