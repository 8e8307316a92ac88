// Files → layer tar → files: what a layer must keep, on made-up trees and on random ones.
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>

#include "drivers/base/rng.h"
#include "drivers/layer/copy_tree.h"
#include "drivers/layer/naive_diff.h"
#include "drivers/layer/tar_writer.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;

/// The tar of everything that `upper` changed relative to `lower`.
std::string diff(const std::optional<Folder>& lower, const Folder& upper) {
  MemorySink sink;
  must(write_changes(must(naive_changes(lower, upper)), upper, sink));
  return sink.data();
}

/// One of each kind of file, each with something easily lost.
void fill_with_everything(const Folder& root) {
  write_file(root / "plain", "hello");
  set_mtime_ns(root / "plain", 1'234'567'890'123'456'789);
  write_file(root / "empty", "");
  write_file(root / "setuid", "#!", 04755);
  write_file(root / "owned", "x", 0640);
  ASSERT_EQ(::chown((root / "owned").c_str(), 3000000, 70000), 0);
  write_file(root / "cap", "x", 0755);
  set_xattr(root / "cap", "security.capability",
            std::string("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20));
  set_xattr(root / "cap", "user.note", std::string("a\0b\n=\xff", 6));
  set_xattr(root / "cap", "trusted.note", "kept");
  std::filesystem::create_directories(root / "dir/sub");
  set_xattr(root / "dir", "user.on_directory", "yes");
  ::chmod((root / "dir/sub").c_str(), 01500);
  make_hard_link(root / "plain", root / "dir/plain_too");
  make_link("../plain", root / "dir/link");
  make_link("/nowhere/at/all", root / "dangling");
  make_hard_link(root / "dangling", root / "dangling_too");
  make_device(root / "char", S_IFCHR, 1, 3);
  make_device(root / "block", S_IFBLK, 7, 123456);
  make_fifo(root / "fifo");
  const std::string odd = "sp ace\ttab\nnew \x01\x7f \"quote\\ e\xcc\x81 \xc3\xa9 \xff\xfe";
  write_file(root / odd, "odd");
  make_link(odd, root / (odd + "link"));
  write_file(root / std::string(255, 'n'), "long name");
  make_link(std::string(3000, 't'), root / "long_target");
  Folder deep = root;
  for (int i = 0; i < 30; ++i) {
    deep /= "directory_with_a_longish_name_" + std::to_string(i);
  }
  write_file(deep / "file", "deep");
  set_mtime_ns(root / "empty", -1'500'000'000);
  set_mtime_ns(root / "dir/sub", 987'654'321'000'000'001);
  set_mtime_ns(root / "dangling", 1'000'000'000'000'000'007);
  write_file(root / "holes", "");
  ASSERT_EQ(::truncate((root / "holes").c_str(), 5 << 20), 0);
  set_mtime_ns(root, 1'111'111'111'111'111'111);
}

TEST(RoundTrip, everything_a_layer_must_keep_survives) {
  if (!is_root()) {
    GTEST_SKIP() << "makes devices and trusted attributes: needs root";
  }
  const TemporaryFolder temporary;
  const Folder from = make_folder(temporary, "from");
  const Folder to = make_folder(temporary, "to");
  fill_with_everything(from);
  const std::string tar = diff({}, from);
  EXPECT_EQ(must(unpack(tar, to)), must(read_tree(from)).at("holes").size_bytes + 5 + 2 + 1 + 1 + 3 + 9 + 4);
  expect_equal_trees(from, to);
}

TEST(RoundTrip, names_do_not_depend_on_the_locale) {
  const TemporaryFolder temporary;
  const Folder from = make_folder(temporary, "from");
  for (const char* name : {"caf\xc3\xa9", "cafe\xcc\x81", "\xff\xfe", "\xe2\x82", "\xf0\x9f\x98\x80"}) {
    write_file(from / name, name);
  }
  const std::string tar = diff({}, from);
  for (const char* locale : {"C", "C.UTF-8"}) {
    ASSERT_NE(::setlocale(LC_ALL, locale), nullptr);
    const Folder to = make_folder(temporary, std::string("to-") + locale);
    EXPECT_EQ(diff({}, from), tar) << locale;
    must(unpack(tar, to));
    expect_equal_trees(from, to);
  }
  ::setlocale(LC_ALL, "C");
}

TEST(RoundTrip, a_hard_linked_file_is_written_once_and_linked_again) {
  const TemporaryFolder temporary;
  const Folder from = make_folder(temporary, "from");
  const Folder to = make_folder(temporary, "to");
  write_file(from / "a", std::string(100000, 'x'));
  make_hard_link(from / "a", from / "b");
  const std::string tar = diff({}, from);
  EXPECT_LT(tar.size(), 150000u);
  EXPECT_EQ(must(unpack(tar, to)), 100000u);
  EXPECT_EQ(status_of(to / "a").st_ino, status_of(to / "b").st_ino);
}

TEST(RoundTrip, equal_trees_give_equal_bytes) {
  const TemporaryFolder temporary;
  const Folder a = make_folder(temporary, "a");
  const Folder b = make_folder(temporary, "b");
  for (const Folder& root : {b, a}) {
    for (const char* name : {"z", "y/file", "x"}) {
      write_file(root / name, name);
      set_xattr(root / name, "user.b", "2");
      set_xattr(root / name, "user.a", "1");
      set_mtime_ns(root / name, 1'600'000'000'000'000'001);
    }
    set_mtime_ns(root / "y", 7);
    set_mtime_ns(root, 8);
  }
  EXPECT_EQ(read_file(a / "x"), "x");  // another access time
  EXPECT_EQ(diff({}, a), diff({}, b));
}

TEST(RoundTrip, driver_attributes_never_enter_a_tar) {
  if (!is_root()) {
    GTEST_SKIP() << "sets trusted attributes: needs root";
  }
  const TemporaryFolder temporary;
  const Folder from = make_folder(temporary, "from");
  std::filesystem::create_directory(from / "d");
  set_xattr(from / "d", "trusted.overlay.opaque", "y");
  set_xattr(from / "d", "user.overlay.origin", "o");
  const std::string tar = diff({}, from);
  EXPECT_EQ(tar.find("overlay"), std::string::npos);
}

TEST(RoundTrip, an_unchanged_tree_gives_an_empty_tar) {
  const TemporaryFolder temporary;
  const Folder lower = make_folder(temporary, "lower");
  const Folder upper = make_folder(temporary, "upper");
  write_file(lower / "d/f", "x");
  must(copy_tree(lower, upper));
  const std::string tar = diff(lower, upper);
  EXPECT_EQ(tar.find_first_not_of('\0'), std::string::npos);
  const Folder to = make_folder(temporary, "to");
  EXPECT_EQ(must(unpack(tar, to)), 0u);
  EXPECT_EQ(must(read_tree(to)).size(), 1u);
}

TEST(RoundTrip, a_file_beyond_8_gib_has_its_size_in_the_tar) {
  MemorySink sink;
  TarWriter writer(sink);
  TarEntry entry;
  entry.path = "huge";
  entry.mode = S_IFREG | 0644;
  entry.size_bytes = 9ull << 30;
  must(writer.add(entry));
  const std::vector<std::byte> block(1 << 20);
  must(writer.write_data(block));
  EXPECT_NE(sink.data().find("size=9663676416\n"), std::string::npos);
  // Left unfinished: the tar has no end, and reading it says so.
  const TemporaryFolder temporary;
  const auto result = unpack(sink.data(), temporary.path());
  EXPECT_EQ(code_of(result), EINVAL);
  EXPECT_NE(result.error().what.find("huge"), std::string::npos) << result.error().what;
}

/// Full after its first bytes.
class FullSink final : public ByteSink {
 public:
  Status write(std::span<const std::byte>) override { return make_error(ENOSPC, "cannot write the layer"); }
};

TEST(RoundTrip, an_error_of_the_sink_comes_through_unchanged) {
  const TemporaryFolder temporary;
  const Folder from = make_folder(temporary, "from");
  write_file(from / "a", "small");
  FullSink small_sink;
  EXPECT_EQ(code_of(write_changes(must(naive_changes({}, from)), from, small_sink)), ENOSPC);
  write_file(from / "b", std::string(2 << 20, 'b'));
  FullSink big_sink;
  const auto status = write_changes(must(naive_changes({}, from)), from, big_sink);
  EXPECT_EQ(code_of(status), ENOSPC);
  EXPECT_EQ(status.error().what.find("cannot write the layer"), 0u);
}

/// Changes a tree at random, keeping what no layer tar can say out of it: a new
/// name for an unchanged file, and a change that keeps size and time.
class RandomTree {
 public:
  RandomTree(Folder root, Rng& rng) : root_(std::move(root)), rng_(rng) {}

  void change(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
    }
  }

 private:
  Folder pick_directory() {
    std::vector<Folder> directories = {root_};
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
      if (entry.is_directory() && !entry.is_symlink()) {
        directories.push_back(entry.path());
      }
    }
    return directories[rng_.below(directories.size())];
  }

  void step() {
    const Folder path = pick_directory() / ("n" + std::to_string(rng_.below(7)));
    const auto kind = rng_.below(10);
    if (kind == 0 && stands(path) && path != root_) {
      std::filesystem::remove_all(path);
      return;
    }
    if (kind == 1 && stands(path)) {
      ASSERT_EQ(::lchown(path.c_str(), static_cast<uid_t>(rng_.below(100000)), static_cast<gid_t>(rng_.below(9))), 0);
      return;
    }
    if (kind == 2 && stands(path) && !std::filesystem::is_symlink(path)) {
      ASSERT_EQ(::chmod(path.c_str(), static_cast<mode_t>(rng_.below(010000))), 0);
      return;
    }
    if (kind > 4 && stands(path)) {
      return;
    }
    std::filesystem::remove_all(path);
    make(path);
    time_ns_ += 1 + static_cast<std::int64_t>(rng_.below(1'000'000));
    if (stands(path)) {
      set_mtime_ns(path, time_ns_);
    }
  }

  void make(const Folder& path) {
    switch (rng_.below(8)) {
      case 0:
      case 1:
        std::filesystem::create_directory(path);
        break;
      case 2:
        make_link(std::string(1 + rng_.below(200), 'l'), path);
        break;
      case 3:
        make_fifo(path);
        break;
      case 4:
        make_device(path, S_IFCHR, 1 + static_cast<unsigned>(rng_.below(9)), static_cast<unsigned>(rng_.below(9)));
        break;
      case 5: {
        write_file(path, "linked " + std::to_string(rng_.next()));
        const Folder other = path.string() + "h";
        std::filesystem::remove_all(other);
        make_hard_link(path, other);
        break;
      }
      default: {
        write_file(path, std::string(rng_.below(5000), static_cast<char>('a' + rng_.below(26))),
                   static_cast<unsigned>(rng_.below(010000)));
        if (rng_.below(3) == 0) {
          set_xattr(path, "user.random", std::to_string(rng_.next()));
        }
      }
    }
  }

  Folder root_;
  Rng& rng_;
  std::int64_t time_ns_ = 1'700'000'000'000'000'000;
};

TEST(RoundTrip, random_layers_rebuild_random_trees) {
  if (!is_root()) {
    GTEST_SKIP() << "makes devices and changes owners: needs root";
  }
  const char* given = std::getenv("SBENCH_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20261123;
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed) + " (SBENCH_TEST_SEED)");
  for (int round = 0; round < 20 && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Rng rng(seed, "round trip " + std::to_string(round));
    const TemporaryFolder temporary;
    const Folder tree = make_folder(temporary, "tree");
    const Folder before = make_folder(temporary, "before");
    const Folder rebuilt = make_folder(temporary, "rebuilt");
    RandomTree random(tree, rng);
    random.change(60);
    must(unpack(diff({}, tree), rebuilt));
    expect_equal_trees(tree, rebuilt);
    must(copy_tree(tree, before));
    expect_equal_trees(tree, before);
    random.change(40);
    must(unpack(diff(before, tree), rebuilt));
    // A walk cannot see that a directory's time changed and nothing else.
    expect_equal_trees(must(read_tree(tree, {.directory_times = false})),
                       must(read_tree(rebuilt, {.directory_times = false})));
  }
}

}  // namespace
}  // namespace sbench
