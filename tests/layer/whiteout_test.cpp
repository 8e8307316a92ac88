// Whiteouts: what `.wh.` entries do to a merged tree, to an overlay upper directory and to an aufs branch.
#include <sys/mount.h>

#include <algorithm>

#include "drivers/layer/upper_diff.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;

class Whiteouts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "makes devices and trusted attributes: needs root";
    }
    root = make_folder(temporary, "root");
  }

  /// A lower tree: d/{a,b,sub/c}, f, e/g.
  void fill_lower() const {
    write_file(root / "d/a", "lower a");
    write_file(root / "d/b", "lower b");
    write_file(root / "d/sub/c", "lower c");
    write_file(root / "f", "lower f");
    write_file(root / "e/g", "lower g");
  }

  std::vector<std::string> paths() const {
    std::vector<std::string> found;
    for (const auto& [path, entry] : must(read_tree(root))) {
      found.push_back(path);
    }
    return found;
  }

  using Paths = std::vector<std::string>;
  TemporaryFolder temporary;
  Folder root;
};

TEST_F(Whiteouts, a_whiteout_deletes_a_file_or_a_whole_directory) {
  fill_lower();
  must(unpack(RawTar().whiteout(".wh.f").whiteout(".wh.d").data(), root));
  EXPECT_EQ(paths(), (Paths{".", "e", "e/g"}));
}

TEST_F(Whiteouts, a_whiteout_of_nothing_does_nothing) {
  fill_lower();
  const Tree before = must(read_tree(root));
  must(unpack(
      RawTar().whiteout(".wh.zzz").whiteout("no/such/.wh.dir").whiteout("f/.wh.x").whiteout("q/.wh..wh..opq").data(),
      root));
  expect_equal_trees(before, must(read_tree(root)));
}

TEST_F(Whiteouts, an_opaque_mark_empties_the_directory) {
  fill_lower();
  must(unpack(RawTar().directory("d/").whiteout("d/.wh..wh..opq").file("d/new", "n").data(), root));
  EXPECT_EQ(paths(), (Paths{".", "d", "d/new", "e", "e/g", "f"}));
}

TEST_F(Whiteouts, what_the_tar_itself_made_survives_a_later_opaque_mark) {
  fill_lower();
  must(unpack(RawTar().directory("d/").file("d/a", "new a").file("d/sub/x", "x").whiteout("d/.wh..wh..opq").data(),
              root));
  EXPECT_EQ(paths(), (Paths{".", "d", "d/a", "d/sub", "d/sub/x", "e", "e/g", "f"}));
  EXPECT_EQ(read_file(root / "d/a"), "new a");
}

TEST_F(Whiteouts, what_the_tar_itself_made_survives_a_later_whiteout) {
  fill_lower();
  must(unpack(
      RawTar().file("f", "new f").whiteout(".wh.f").directory("d/").file("d/sub/x", "x").whiteout(".wh.d").data(),
      root));
  EXPECT_EQ(paths(), (Paths{".", "d", "d/sub", "d/sub/x", "e", "e/g", "f"}));
  EXPECT_EQ(read_file(root / "f"), "new f");
}

TEST_F(Whiteouts, what_comes_after_a_whiteout_is_new) {
  fill_lower();
  must(unpack(RawTar().whiteout(".wh.d").directory("d/").file("d/x", "x").data(), root));
  EXPECT_EQ(paths(), (Paths{".", "d", "d/x", "e", "e/g", "f"}));
}

TEST_F(Whiteouts, a_whiteout_by_another_path_still_knows_what_the_tar_made) {
  fill_lower();
  make_link("d", root / "alias");
  must(unpack(RawTar().file("alias/a", "new a").whiteout("d/.wh.a").whiteout("d/.wh.b").data(), root));
  EXPECT_EQ(read_file(root / "d/a"), "new a");
  EXPECT_FALSE(stands(root / "d/b"));
}

TEST_F(Whiteouts, aufs_internals_are_skipped) {
  must(unpack(RawTar()
                  .directory(".wh..wh.plnk/")
                  .file(".wh..wh.plnk/12.34", "x")
                  .whiteout(".wh..wh.aufs")
                  .whiteout("d/.wh..wh.orph")
                  .data(),
              root));
  EXPECT_EQ(paths(), (Paths{"."}));
}

TEST_F(Whiteouts, whiteouts_that_name_nothing_sensible_are_refused) {
  for (const char* name : {".wh.", ".wh..", ".wh...", "d/.wh...", ".wh.a/b", "d/.wh./etc"}) {
    for (const auto style : {WhiteoutStyle::erase, WhiteoutStyle::overlay, WhiteoutStyle::aufs}) {
      const auto result = unpack(RawTar().whiteout(name).data(), root, style);
      EXPECT_EQ(code_of(result), EINVAL) << name;
    }
  }
  EXPECT_EQ(paths(), (Paths{"."}));
}

TEST_F(Whiteouts, overlay_gets_devices_and_an_attribute) {
  must(unpack(
      RawTar().whiteout(".wh.f").directory("d/").whiteout("d/.wh.a").directory("o/").whiteout("o/.wh..wh..opq").data(),
      root, WhiteoutStyle::overlay));
  EXPECT_TRUE(is_whiteout(root / "f"));
  EXPECT_TRUE(is_whiteout(root / "d/a"));
  EXPECT_EQ(xattr_of(root / "o", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(xattr_of(root / "d", "trusted.overlay.opaque"), "(none)");
}

TEST_F(Whiteouts, overlay_a_deleted_and_remade_directory_is_opaque_in_either_order) {
  must(unpack(RawTar()
                  .whiteout(".wh.early")
                  .directory("early/")
                  .directory("late/")
                  .file("late/x", "")
                  .whiteout(".wh.late")
                  .whiteout(".wh.implied")
                  .file("implied/x", "")
                  .data(),
              root, WhiteoutStyle::overlay));
  for (const char* name : {"early", "late", "implied"}) {
    EXPECT_EQ(xattr_of(root / name, "trusted.overlay.opaque"), "y") << name;
    EXPECT_TRUE(S_ISDIR(status_of(root / name).st_mode)) << name;
  }
  EXPECT_TRUE(stands(root / "late/x"));
}

TEST_F(Whiteouts, overlay_a_deleted_and_remade_file_is_just_the_file) {
  must(unpack(RawTar().whiteout(".wh.early").file("early", "1").file("late", "2").whiteout(".wh.late").data(), root,
              WhiteoutStyle::overlay));
  EXPECT_EQ(read_file(root / "early"), "1");
  EXPECT_EQ(read_file(root / "late"), "2");
}

TEST_F(Whiteouts, overlay_marks_below_a_deleted_directory_do_not_bring_it_back) {
  must(unpack(RawTar().whiteout(".wh.d").whiteout("d/.wh.x").whiteout("d/.wh..wh..opq").data(), root,
              WhiteoutStyle::overlay));
  EXPECT_TRUE(is_whiteout(root / "d"));
}

TEST_F(Whiteouts, overlay_cannot_keep_a_0_0_device_nor_hide_the_whole_root) {
  EXPECT_EQ(code_of(unpack(RawTar().device("x", '3', 0, 0).data(), root, WhiteoutStyle::overlay)), EPERM);
  EXPECT_EQ(code_of(unpack(RawTar().whiteout(".wh..wh..opq").data(), root, WhiteoutStyle::overlay)), ENOTSUP);
  EXPECT_EQ(paths(), (Paths{"."}));
}

TEST_F(Whiteouts, overlay_a_deleted_file_is_no_target_for_a_hard_link) {
  const auto result = unpack(RawTar().whiteout(".wh.f").hard_link("g", "f").data(), root, WhiteoutStyle::overlay);
  EXPECT_EQ(code_of(result), ENOENT);
  EXPECT_FALSE(stands(root / "g"));
}

TEST_F(Whiteouts, driver_attributes_in_a_tar_are_dropped) {
  must(unpack(RawTar()
                  .pax({{"SCHILY.xattr.trusted.overlay.opaque", "y"}, {"SCHILY.xattr.user.kept", "1"}})
                  .directory("d/")
                  .pax({{"SCHILY.xattr.trusted.overlay.redirect", "/etc"}})
                  .directory("e/")
                  .data(),
              root, WhiteoutStyle::overlay));
  EXPECT_EQ(xattr_of(root / "d", "trusted.overlay.opaque"), "(none)");
  EXPECT_EQ(xattr_of(root / "d", "user.kept"), "1");
  EXPECT_EQ(xattr_of(root / "e", "trusted.overlay.redirect"), "(none)");
}

TEST_F(Whiteouts, aufs_gets_links_to_one_base_file) {
  must(unpack(
      RawTar().whiteout(".wh.f").directory("d/").whiteout("d/.wh.a").directory("o/").whiteout("o/.wh..wh..opq").data(),
      root, WhiteoutStyle::aufs));
  const auto base = status_of(root / ".wh..wh.aufs");
  EXPECT_EQ(base.st_nlink, 4u);
  for (const char* name : {".wh.f", "d/.wh.a", "o/.wh..wh..opq"}) {
    EXPECT_EQ(status_of(root / name).st_ino, base.st_ino) << name;
  }
}

TEST_F(Whiteouts, aufs_remade_names_lose_their_whiteout) {
  must(unpack(RawTar()
                  .whiteout(".wh.f")
                  .file("f", "1")
                  .file("g", "2")
                  .whiteout(".wh.g")
                  .whiteout(".wh.early")
                  .directory("early/")
                  .directory("late/")
                  .whiteout(".wh.late")
                  .data(),
              root, WhiteoutStyle::aufs));
  for (const char* name : {".wh.f", ".wh.g", ".wh.early", ".wh.late"}) {
    EXPECT_FALSE(stands(root / name)) << name;
  }
  EXPECT_TRUE(stands(root / "early/.wh..wh..opq"));
  EXPECT_TRUE(stands(root / "late/.wh..wh..opq"));
  EXPECT_EQ(read_file(root / "f"), "1");
}

TEST_F(Whiteouts, an_upper_directory_packs_back_to_what_was_unpacked) {
  for (const auto style : {WhiteoutStyle::overlay, WhiteoutStyle::aufs}) {
    const Folder first = make_folder(temporary, style == WhiteoutStyle::aufs ? "aufs1" : "overlay1");
    const Folder second = make_folder(temporary, style == WhiteoutStyle::aufs ? "aufs2" : "overlay2");
    must(unpack(RawTar()
                    .directory("./")
                    .whiteout(".wh.f")
                    .directory("d/")
                    .whiteout("d/.wh.a")
                    .directory("o/")
                    .whiteout("o/.wh..wh..opq")
                    .file("o/x", "x")
                    .whiteout(".wh.o")
                    .data(),
                first, style));
    MemorySink sink;
    must(write_upper(first, style, sink));
    must(unpack(sink.data(), second, style));
    Tree one = must(read_tree(first, {.directory_times = false}));
    Tree two = must(read_tree(second, {.directory_times = false}));
    for (Tree* tree : {&one, &two}) {
      for (auto& [path, entry] : *tree) {
        entry.mtime_ns = path.find(".wh.") != std::string::npos || S_ISCHR(entry.mode) ? 0 : entry.mtime_ns;
      }
    }
    expect_equal_trees(one, two);
    EXPECT_EQ(xattr_of(second / "o", "trusted.overlay.opaque"), style == WhiteoutStyle::overlay ? "y" : "(none)");
  }
}

/// What the kernel's overlayfs shows of the unpacked upper directory must be what `erase` makes of the lower.
TEST_F(Whiteouts, overlayfs_shows_what_erase_makes) {
  enter_private_namespace();
  const std::vector<std::string> tars = {
      RawTar().whiteout(".wh.f").whiteout(".wh.d").data(),
      RawTar().directory("d/").whiteout("d/.wh..wh..opq").file("d/new", "n").data(),
      RawTar().directory("d/").file("d/a", "new").whiteout("d/.wh..wh..opq").data(),
      RawTar().whiteout(".wh.d").directory("d/").file("d/x", "x").data(),
      RawTar().directory("d/").file("d/x", "x").whiteout(".wh.d").data(),
      RawTar().file("d", "now a file").data(),
      RawTar().directory("f/").file("f/x", "now a directory").data(),
      RawTar().link("d", "e").data(),
  };
  for (std::size_t i = 0; i < tars.size(); ++i) {
    SCOPED_TRACE("tar " + std::to_string(i));
    const Folder here = make_folder(temporary, "case" + std::to_string(i));
    root = here / "lower";
    fill_lower();
    for (const char* name : {"upper", "work", "merged", "erased"}) {
      std::filesystem::create_directory(here / name);
    }
    std::filesystem::copy(root, here / "erased", std::filesystem::copy_options::recursive);
    must(unpack(tars[i], here / "erased"));
    must(unpack(tars[i], here / "upper", WhiteoutStyle::overlay));
    const std::string options = "lowerdir=" + (here / "lower").string() + ",upperdir=" + (here / "upper").string() +
                                ",workdir=" + (here / "work").string();
    if (::mount("overlay", (here / "merged").c_str(), "overlay", 0, options.c_str()) != 0) {
      GTEST_SKIP() << "this kernel does not mount overlay here";
    }
    Tree expected = must(read_tree(here / "erased", {.directory_times = false}));
    Tree actual = must(read_tree(here / "merged", {.directory_times = false}));
    EXPECT_EQ(::umount((here / "merged").c_str()), 0);
    for (Tree* tree : {&expected, &actual}) {
      for (auto& [path, entry] : *tree) {
        entry.mtime_ns = 0;  // the lower's copies were made at different times
      }
    }
    expect_equal_trees(expected, actual);
  }
}

}  // namespace
}  // namespace sbench
