// overlay_test.cpp: what only the legacy overlay driver must get right: hard-linked roots.
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

using fs_path = std::filesystem::path;

class Overlay : public testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"overlay", {}})); }

  static ino_t inode_of(const fs_path& path) {
    struct stat info {};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
    return info.st_ino;
  }

  static void make_image(Driver& driver) {
    make_layer(driver, "image", {}, [](const fs_path& tree) {
      std::filesystem::create_directory(tree / "dir");
      write_file(tree / "dir/kept", std::string(kMiB, 'k'));
      write_file(tree / "dir/changed", "old");
      write_file(tree / "dir/deleted", "old");
    });
  }
};

TEST_F(Overlay, a_committed_layer_shares_unchanged_files_and_owns_changed_ones) {
  TestStore store({"overlay", {}}, 256 * kMiB);
  Driver& driver = store.driver();
  make_image(driver);
  make_layer(driver, "child", "image", [](const fs_path& tree) {
    write_file(tree / "dir/changed", "new");
    std::filesystem::remove(tree / "dir/deleted");
  });
  const auto image = must(driver.mount("image"));
  const auto child = must(driver.mount("child"));
  EXPECT_EQ(inode_of(image.path() / "dir/kept"), inode_of(child.path() / "dir/kept"));
  EXPECT_NE(inode_of(image.path() / "dir/changed"), inode_of(child.path() / "dir/changed"));
  EXPECT_NE(inode_of(image.path() / "dir"), inode_of(child.path() / "dir"));
  EXPECT_FALSE(path_exists(child.path() / "dir/deleted"));
  EXPECT_EQ(read_file(image.path() / "dir/changed"), "old");
  const auto usage = must(driver.usage("child"));
  EXPECT_EQ(usage.inodes, 3u) << "two directories and the changed file";
  EXPECT_LT(usage.bytes_allocated, 64 * kKiB);
}

TEST_F(Overlay, an_unfinished_copy_of_a_killed_commit_is_not_taken_for_the_layer) {
  TestStore store({"overlay", {}}, 256 * kMiB);
  make_image(store.driver());
  must(store.driver().prepare("child", "image"));
  write_file(must(store.driver().mount("child")).path() / "dir/changed", "new");
  store.close();
  {
    const auto backing = store.mount_backing();
    const auto unfinished = store.root() / "layers/child/root-unfinished";
    std::filesystem::create_directory(unfinished);
    write_file(unfinished / "half", "half");
  }
  store.open();
  must(store.driver().commit("child", "child"));
  const auto tree = must(store.driver().mount("child"));
  EXPECT_EQ(read_file(tree.path() / "dir/changed"), "new");
  EXPECT_TRUE(path_exists(tree.path() / "dir/kept"));
  EXPECT_FALSE(path_exists(tree.path() / "half"));
}

}  // namespace
}  // namespace sbench::test
