// What changed: the naive differ over two trees, and the native one over an upper directory; they must agree.
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "drivers/base/rng.h"
#include "drivers/layer/copy_tree.h"
#include "drivers/layer/naive_diff.h"
#include "drivers/layer/upper_diff.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;
using Lines = std::vector<std::string>;

class Differ : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "makes devices and trusted attributes: needs root";
    }
    lower = make_folder(temporary, "lower");
    upper = make_folder(temporary, "upper");
    write_file(lower / "d/a", "a");
    write_file(lower / "d/sub/c", "c");
    write_file(lower / "f", "f");
    write_file(lower / "g", "g", 0755);
  }

  /// A second, changeable copy of `lower`.
  void copy_lower() const { must(copy_tree(lower, upper)); }
  Lines naive() const { return letters(must(naive_changes(lower, upper))); }
  Lines native(WhiteoutStyle style = WhiteoutStyle::overlay) const {
    return letters(must(upper_changes(upper, style, {lower})));
  }

  TemporaryFolder temporary;
  Folder lower;
  Folder upper;
};

TEST_F(Differ, naive_finds_nothing_in_a_copy) {
  copy_lower();
  EXPECT_EQ(naive(), Lines{});
}

TEST_F(Differ, naive_finds_each_property_that_differs) {
  const std::vector<std::function<void(const Folder&)>> changes = {
      [](const Folder& f) { ::chmod(f.c_str(), 0600); },
      [](const Folder& f) { ASSERT_EQ(::chown(f.c_str(), 5, 0), 0); },
      [](const Folder& f) { ASSERT_EQ(::chown(f.c_str(), 0, 5), 0); },
      [](const Folder& f) { set_mtime_ns(f, 1'600'000'000'000'000'001); },
      [](const Folder& f) {
        const auto time = status_of(f).st_mtim;
        write_file(f, "longer", 0755);
        set_mtime_ns(f, time.tv_sec * 1'000'000'000 + time.tv_nsec);
      },
      [](const Folder& f) {
        set_xattr(f, "security.capability", std::string("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
      },
  };
  for (const auto& change : changes) {
    copy_lower();
    change(upper / "g");
    EXPECT_EQ(naive(), Lines{"C g"});
    std::filesystem::remove_all(upper);
    std::filesystem::create_directory(upper);
  }
}

TEST_F(Differ, naive_takes_a_time_without_nanoseconds_for_equal_within_its_second) {
  set_mtime_ns(lower / "g", 1'600'000'000'123'456'789);
  copy_lower();
  set_mtime_ns(upper / "g", 1'600'000'000'000'000'000);
  EXPECT_EQ(naive(), Lines{});
  set_mtime_ns(upper / "g", 1'600'000'000'000'000'001);
  EXPECT_EQ(naive(), Lines{"C g"});
}

TEST_F(Differ, naive_ignores_the_times_of_directories_but_not_their_modes) {
  copy_lower();
  set_mtime_ns(upper / "d", 5);
  EXPECT_EQ(naive(), Lines{});
  ::chmod((upper / "d").c_str(), 0700);
  EXPECT_EQ(naive(), Lines{"C d"});
}

TEST_F(Differ, naive_lists_changed_parents_added_subtrees_and_deleted_tops) {
  copy_lower();
  std::filesystem::remove_all(upper / "d/sub");
  write_file(upper / "new/x/y", "y");
  std::filesystem::remove(upper / "f");
  write_file(upper / "f/now_a_directory", "");
  EXPECT_EQ(naive(), (Lines{"C d", "D d/sub", "C f", "A f/now_a_directory", "A new", "A new/x", "A new/x/y"}));
}

TEST_F(Differ, naive_without_a_lower_adds_everything) {
  EXPECT_EQ(letters(must(naive_changes({}, lower))), (Lines{"A d", "A d/a", "A d/sub", "A d/sub/c", "A f", "A g"}));
}

TEST_F(Differ, a_name_that_would_delete_cannot_be_packed) {
  write_file(upper / ".wh.f", "");
  MemorySink sink;
  EXPECT_EQ(code_of(write_changes(must(naive_changes(lower, upper)), upper, sink)), EINVAL);
  MemorySink other;
  EXPECT_EQ(code_of(write_upper(upper, WhiteoutStyle::overlay, other)), EINVAL);
}

TEST_F(Differ, sockets_are_left_out_of_tars) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = (upper / "socket").string();
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  write_file(upper / "z", "z");
  MemorySink sink;
  must(write_changes(must(naive_changes({}, upper)), upper, sink));
  const Folder to = make_folder(temporary, "to");
  must(unpack(sink.data(), to));
  EXPECT_FALSE(stands(to / "socket"));
  EXPECT_TRUE(stands(to / "z"));
}

TEST_F(Differ, an_overlay_upper_tells_added_from_modified_and_expands_opaque_directories) {
  make_device(upper / "f", S_IFCHR, 0, 0);
  make_device(upper / "never_was", S_IFCHR, 0, 0);
  write_file(upper / "d/new", "");
  write_file(upper / "d/a", "changed");
  set_xattr(upper / "d", "trusted.overlay.opaque", "y");
  write_file(upper / "g", "changed");
  EXPECT_EQ(native(), (Lines{"C d", "C d/a", "A d/new", "D d/sub", "D f", "C g"}));
}

TEST_F(Differ, whiteouts_in_attribute_form_count_below_an_x_marked_directory_only) {
  write_file(upper / "d/a", "");
  set_xattr(upper / "d/a", "trusted.overlay.whiteout", "y");
  EXPECT_EQ(native(), (Lines{"C d", "C d/a"}));
  set_xattr(upper / "d", "trusted.overlay.opaque", "x");
  EXPECT_EQ(native(), (Lines{"C d", "D d/a"}));
}

TEST_F(Differ, lowers_hide_one_another) {
  const Folder nearest = make_folder(temporary, "nearest");
  make_device(nearest / "f", S_IFCHR, 0, 0);
  std::filesystem::create_directory(nearest / "d");
  set_xattr(nearest / "d", "trusted.overlay.opaque", "y");
  write_file(nearest / "d/kept", "");
  write_file(upper / "f", "again");
  write_file(upper / "d/a", "again");
  write_file(upper / "d/kept", "changed");
  EXPECT_EQ(letters(must(upper_changes(upper, WhiteoutStyle::overlay, {nearest, lower}))),
            (Lines{"C d", "A d/a", "C d/kept", "A f"}));
}

TEST_F(Differ, an_aufs_upper_reads_its_own_marks) {
  write_file(upper / ".wh.f", "");
  write_file(upper / ".wh..wh.aufs", "");
  write_file(upper / ".wh..wh.plnk/1.2", "");
  write_file(upper / "d/.wh..wh..opq", "");
  write_file(upper / "d/new", "");
  EXPECT_EQ(native(WhiteoutStyle::aufs), (Lines{"C d", "D d/a", "A d/new", "D d/sub", "D f"}));
}

TEST_F(Differ, what_an_upper_directory_cannot_tell_alone_is_exdev) {
  std::filesystem::create_directory(upper / "moved");
  set_xattr(upper / "moved", "trusted.overlay.redirect", "/d");
  MemorySink sink;
  EXPECT_EQ(code_of(write_upper(upper, WhiteoutStyle::overlay, sink)), EXDEV);
  EXPECT_EQ(code_of(upper_changes(upper, WhiteoutStyle::overlay, {lower})), EXDEV);
  std::filesystem::remove_all(upper / "moved");
  write_file(upper / "f", "");
  set_xattr(upper / "f", "trusted.overlay.metacopy", "");
  EXPECT_EQ(code_of(write_upper(upper, WhiteoutStyle::overlay, sink)), EXDEV);
  EXPECT_EQ(code_of(upper_changes(upper, WhiteoutStyle::overlay, {lower})), EXDEV);
}

/// Random work in a real overlay mount: both differs describe it, and both tars rebuild it.
TEST_F(Differ, both_differs_rebuild_what_overlayfs_shows) {
  enter_private_namespace();
  const std::uint64_t seed = 99;
  for (int round = 0; round < 12 && !HasFailure(); ++round) {
    SCOPED_TRACE("seed 99 round " + std::to_string(round));
    Rng rng(seed, "overlay " + std::to_string(round));
    const Folder here = make_folder(temporary, "round" + std::to_string(round));
    for (const char* name : {"upper", "work", "merged", "native", "naive"}) {
      std::filesystem::create_directory(here / name);
    }
    const std::string options = "lowerdir=" + lower.string() + ",upperdir=" + (here / "upper").string() +
                                ",workdir=" + (here / "work").string() + ",redirect_dir=off,metacopy=off";
    const Folder merged = here / "merged";
    if (::mount("overlay", merged.c_str(), "overlay", 0, options.c_str()) != 0) {
      GTEST_SKIP() << "this kernel does not mount overlay here";
    }
    const Lines names = {"d", "d/a", "d/sub", "d/sub/c", "f", "g", "d/sub/new", "n", "n/x"};
    for (int step = 0; step < 12; ++step) {
      const Folder path = merged / names[rng.below(names.size())];
      if (!std::filesystem::is_directory(path.parent_path())) {
        continue;
      }
      switch (rng.below(4)) {
        case 0:
          std::filesystem::remove_all(path);
          break;
        case 1:
          std::filesystem::remove_all(path);
          [[fallthrough]];
        case 2:
          if (!stands(path)) {
            std::filesystem::create_directory(path);
          }
          break;
        default:
          if (!std::filesystem::is_directory(path)) {
            write_file(path, "step " + std::to_string(rng.next()));
          }
      }
    }
    const auto by_upper = must(upper_changes(here / "upper", WhiteoutStyle::overlay, {lower}));
    const auto by_walk = must(naive_changes(lower, merged));
    for (const auto& change : by_walk) {
      EXPECT_NE(std::find(by_upper.begin(), by_upper.end(), change), by_upper.end())
          << letter(change.kind) << " " << change.path;
    }
    MemorySink native_tar;
    must(write_upper(here / "upper", WhiteoutStyle::overlay, native_tar));
    MemorySink naive_tar;
    must(write_changes(by_walk, merged, naive_tar));
    must(copy_tree(lower, here / "native"));
    must(copy_tree(lower, here / "naive"));
    must(unpack(native_tar.data(), here / "native"));
    must(unpack(naive_tar.data(), here / "naive"));
    expect_equal_trees(must(read_tree(merged)), must(read_tree(here / "native")));
    expect_equal_trees(must(read_tree(merged, {.directory_times = false})),
                       must(read_tree(here / "naive", {.directory_times = false})));
    EXPECT_EQ(::umount(merged.c_str()), 0);
  }
}

TEST_F(Differ, depth_costs_no_descriptors) {
  Folder deep = lower;
  std::string name;
  for (int i = 0; i < 300; ++i) {
    deep /= "d";
    name += "d/";
  }
  std::filesystem::create_directories(deep);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  copy_lower();
  EXPECT_EQ(naive(), Lines{});
  MemorySink sink;
  must(write_changes(must(naive_changes({}, lower)), lower, sink));
  const Folder to = make_folder(temporary, "to");
  must(unpack(sink.data(), to));
  expect_equal_trees(lower, to);
  must(unpack(RawTar().whiteout(".wh.d").data(), to));
  EXPECT_FALSE(stands(to / "d"));
  EXPECT_EQ(must(measure_tree(lower)).inodes, 306u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace sbench
