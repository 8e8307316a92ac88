// Deep copies: what they keep, what they share, and what trees look like as values.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/base/process.h"
#include "drivers/block/device.h"
#include "drivers/layer/copy_tree.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;

class Copy : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "makes devices and trusted attributes: needs root";
    }
    source = make_folder(temporary, "source");
    fill(source);
  }

  static void fill(const Folder& root) {
    write_file(root / "d/file", std::string(300000, 'f'), 04750);
    set_xattr(root / "d/file", "trusted.overlay.opaque", "y");
    set_xattr(root / "d/file", "user.x", "1");
    make_hard_link(root / "d/file", root / "linked");
    make_link("d/file", root / "link");
    make_fifo(root / "fifo");
    make_device(root / "null", S_IFCHR, 1, 3);
    const int fd = ::open((root / "holes").c_str(), O_WRONLY | O_CREAT, 0600);
    ASSERT_EQ(::pwrite(fd, "in the middle", 13, 20 << 20), 13);
    ASSERT_EQ(::ftruncate(fd, 60 << 20), 0);
    ::close(fd);
    ASSERT_EQ(::chown((root / "d").c_str(), 12, 34), 0);
    ::chmod((root / "d").c_str(), 01711);
    set_mtime_ns(root / "d", 1'000'000'000'000'000'001);
    set_mtime_ns(root, 1'000'000'000'000'000'002);
  }

  TemporaryFolder temporary;
  Folder source;
};

TEST_F(Copy, a_copy_equals_its_source_in_every_mode) {
  for (const auto mode : {CopyMode::copy, CopyMode::copy_data, CopyMode::hard_link}) {
    const Folder target = make_folder(temporary, "target" + std::to_string(static_cast<int>(mode)));
    const CopyStats stats = must(copy_tree(source, target, mode));
    EXPECT_EQ(stats.files, 6u);
    expect_equal_trees(source, target);
    EXPECT_EQ(xattr_of(target / "d/file", "trusted.overlay.opaque"), "y");
    const bool linked = status_of(source / "d/file").st_ino == status_of(target / "d/file").st_ino;
    EXPECT_EQ(linked, mode == CopyMode::hard_link);
    if (mode == CopyMode::hard_link) {
      EXPECT_EQ(stats.bytes_copied + stats.bytes_cloned, 0u);
    }
  }
}

TEST_F(Copy, holes_stay_holes) {
  const Folder target = make_folder(temporary, "target");
  const CopyStats stats = must(copy_tree(source, target, CopyMode::copy_data));
  EXPECT_LT(status_of(target / "holes").st_blocks * 512, 1 << 20);
  EXPECT_LT(stats.bytes_copied, 2u << 20);
  EXPECT_EQ(stats.bytes_cloned, 0u);
}

TEST_F(Copy, content_is_cloned_where_the_file_system_can_and_only_when_asked) {
  enter_private_namespace();
  auto device = Device::make_image(temporary.path(), 400ull << 20);
  if (!device.ok()) {
    GTEST_SKIP() << device.error().what;
  }
  static_cast<void>(must(run_checked({"mkfs.xfs", "-q", "-m", "reflink=1", (*device)->path()})));
  const Folder mounted = make_folder(temporary, "mounted");
  (*device)->release_exclusive();
  ASSERT_EQ(::mount((*device)->path().c_str(), mounted.c_str(), "xfs", 0, nullptr), 0) << errno;
  std::filesystem::create_directory(mounted / "source");
  fill(mounted / "source");
  for (const auto mode : {CopyMode::copy, CopyMode::copy_data}) {
    const Folder target = mounted / std::to_string(static_cast<int>(mode));
    std::filesystem::create_directory(target);
    const CopyStats stats = must(copy_tree(mounted / "source", target, mode));
    expect_equal_trees(mounted / "source", target);
    EXPECT_EQ(stats.bytes_cloned > 0, mode == CopyMode::copy);
    EXPECT_EQ(stats.bytes_copied > 0, mode == CopyMode::copy_data);
  }
  EXPECT_EQ(::umount(mounted.c_str()), 0);
}

TEST_F(Copy, copies_go_from_one_file_system_to_another) {
  enter_private_namespace();
  const Folder mounted = make_folder(temporary, "mounted");
  ASSERT_EQ(::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=100m"), 0);
  const CopyStats stats = must(copy_tree(source, mounted));
  EXPECT_EQ(stats.bytes_cloned, 0u);
  Tree expected = must(read_tree(source));
  EXPECT_EQ(must(read_tree(mounted)), expected);
  EXPECT_EQ(::umount(mounted.c_str()), 0);
}

TEST_F(Copy, a_full_target_is_enospc_with_a_path) {
  enter_private_namespace();
  const Folder mounted = make_folder(temporary, "mounted");
  ASSERT_EQ(::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=64k"), 0);
  const auto copied = copy_tree(source, mounted);
  EXPECT_EQ(code_of(copied), ENOSPC);
  EXPECT_NE(copied.error().what.find("linked"), std::string::npos);
  const auto unpacked = unpack(RawTar().file("too/big", std::string(200000, 'x')).data(), mounted);
  EXPECT_EQ(code_of(unpacked), ENOSPC);
  EXPECT_NE(unpacked.error().what.find("too/big"), std::string::npos);
  EXPECT_EQ(::umount(mounted.c_str()), 0);
}

TEST_F(Copy, measuring_counts_each_inode_once) {
  const TreeUsage usage = must(measure_tree(source));
  EXPECT_EQ(usage.inodes, 7u);  // root, d, file, link, fifo, null, holes
  EXPECT_LT(usage.bytes_allocated, 2u << 20);
  EXPECT_GE(usage.bytes_allocated, 300000u);
}

TEST_F(Copy, a_tree_says_each_difference_in_a_sentence) {
  const Folder target = make_folder(temporary, "target");
  must(copy_tree(source, target));
  const Tree expected = must(read_tree(source));
  const std::vector<std::function<void(Tree&)>> damages = {
      [](Tree& tree) { tree.erase("fifo"); },
      [](Tree& tree) { tree["extra"]; },
      [](Tree& tree) { tree["d"].mode ^= 01000; },
      [](Tree& tree) { tree["d"].uid += 1; },
      [](Tree& tree) { tree["d"].gid += 1; },
      [](Tree& tree) { tree["holes"].size_bytes += 1; },
      [](Tree& tree) { tree["null"].device_number += 1; },
      [](Tree& tree) { tree["d"].mtime_ns += 1; },
      [](Tree& tree) { tree["holes"].content_hash += 1; },
      [](Tree& tree) { tree["link"].link_target += "x"; },
      [](Tree& tree) { tree["linked"].hard_link_of.clear(); },
      [](Tree& tree) { tree["d/file"].xattrs["user.x"] = "2"; },
      [](Tree& tree) { tree["d/file"].xattrs.erase("user.x"); },
      [](Tree& tree) { tree["d/file"].xattrs["user.y"] = ""; },
  };
  for (const auto& damage : damages) {
    Tree actual = must(read_tree(target));
    damage(actual);
    EXPECT_EQ(compare_trees(expected, actual).size(), 1u);
  }
  EXPECT_EQ(compare_trees(expected, Tree{}, 3).size(), 3u);
}

TEST_F(Copy, a_mount_below_the_root_is_not_entered) {
  enter_private_namespace();
  std::filesystem::create_directory(source / "mounted");
  ASSERT_EQ(::mount("tmpfs", (source / "mounted").c_str(), "tmpfs", 0, "size=1m"), 0);
  write_file(source / "mounted/inside", "x");
  const Tree tree = must(read_tree(source));
  EXPECT_TRUE(tree.contains("mounted"));
  EXPECT_FALSE(tree.contains("mounted/inside"));
  EXPECT_EQ(::umount((source / "mounted").c_str()), 0);
}

}  // namespace
}  // namespace sbench
