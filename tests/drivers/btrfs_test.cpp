// btrfs_test.cpp: what only the btrfs driver must get right: subvolumes, space, quota groups.
#include <sys/wait.h>

#include "drivers/btrfs/subvolume.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

using fs_path = std::filesystem::path;

class Btrfs : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(variant()); }
  static Variant variant() { return {"btrfs", {{"quota", GetParam()}}}; }
};
INSTANTIATE_TEST_SUITE_P(Quota, Btrfs, testing::Values("off", "on"));

TEST_P(Btrfs, subvolumes_nested_in_a_layer_go_with_it) {
  TestStore store(variant(), 512 * kMiB);
  make_layer(store.driver(), "base", {}, [](const fs_path& tree) {
    must(btrfs::create_subvolume(tree / "nested"));
    must(btrfs::create_subvolume(tree / "nested/deeper"));
    write_file(tree / "nested/deeper/file", "x");
  });
  must(store.driver().remove("base"));
  must(store.driver().sync());
  EXPECT_FALSE(path_exists(store.root() / "subvolumes/base"));
}

TEST_P(Btrfs, committed_layers_are_read_only) {
  TestStore store(variant(), 512 * kMiB);
  make_layer(store.driver(), "base", {}, [](const fs_path&) {});
  const auto tree = must(store.driver().mount("base"));
  EXPECT_EQ(code_of(open_file(tree.path() / "file", O_WRONLY | O_CREAT)), EROFS);
}

TEST_P(Btrfs, usage_counts_extents_the_layer_made_and_not_those_it_shares) {
  TestStore store(variant(), 512 * kMiB);
  Driver& driver = store.driver();
  make_layer(driver, "base", {}, [](const fs_path& tree) {
    write_file(tree / "big", std::string(16 * kMiB, 'b'));
    for (int i = 0; i < 50; ++i) {
      write_file(tree / fmt::format("small-{}", i), "inline");
    }
  });
  must(driver.prepare("idle", "base"));
  EXPECT_LT(must(driver.usage("idle")).bytes_allocated, 256 * kKiB);
  must(driver.prepare("writer", "base"));
  {
    auto tree = must(driver.mount("writer"));
    const Fd fd = must(open_file(tree.path() / "big", O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), std::string(4096, 'w').data(), 4096, 8 * kMiB), 4096);
  }
  const auto usage = must(driver.usage("writer")).bytes_allocated;
  EXPECT_GE(usage, 4096u);
  EXPECT_LT(usage, 256 * kKiB) << "the split 16 MiB extent is still the parent's";
  EXPECT_GE(must(driver.usage("base")).bytes_allocated, 16 * kMiB);
}

TEST_P(Btrfs, quota_groups_of_removed_layers_do_not_pile_up) {
  TestStore store(variant(), 512 * kMiB);
  for (int i = 0; i < 5; ++i) {
    make_layer(store.driver(), "layer", {}, [](const fs_path& tree) { write_file(tree / "file", "x"); });
    must(store.driver().remove("layer"));
  }
  must(store.driver().sync());
  must(store.driver().prepare("last", {}));
  must(store.driver().sync());
  for (std::uint64_t id = 256; id < 261; ++id) {
    EXPECT_FALSE(btrfs::has_quota_group(store.root(), id)) << id;
  }
}

TEST(BtrfsCompression, compressible_data_takes_less_space) {
  SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"btrfs", {}}));
  TestStore store({"btrfs", {{"compression", "zstd"}}}, 512 * kMiB);
  make_layer(store.driver(), "base", {},
             [](const fs_path& tree) { write_file(tree / "big", std::string(16 * kMiB, 'b')); });
  EXPECT_LT(must(store.driver().usage("base")).bytes_allocated, 2 * kMiB);
}

}  // namespace
}  // namespace sbench::test
