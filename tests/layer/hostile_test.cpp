// Tars made to harm: whatever they say, nothing outside the root is touched, and nothing crashes.
#include <sys/sysmacros.h>

#include "drivers/base/rng.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/naive_diff.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;

constexpr WhiteoutStyle kStyles[] = {WhiteoutStyle::erase, WhiteoutStyle::overlay, WhiteoutStyle::aufs};

class Hostile : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "unpacks owners and devices: needs root";
    }
    const Folder outside = make_folder(temporary, "outside");
    write_file(outside / "canary", "sings");
    write_file(outside / "deep/er/file", "x");
    make_link("canary", outside / "link");
    ::chmod((outside / "deep").c_str(), 0700);
    before = must(read_tree(outside));
  }

  void TearDown() override {
    if (is_root()) {
      expect_equal_trees(before, must(read_tree(temporary.path() / "outside")));
    }
  }

  /// A fresh root next to the canaries, with an old file and an old directory in it.
  Folder fresh_root() {
    const Folder root = make_folder(temporary, "root" + std::to_string(roots_++));
    write_file(root / "old/file", "old");
    return root;
  }

  /// Unpacks in every style. Returns the errno of the `erase` one.
  int unpack_everywhere(const std::string& tar) {
    int code = 0;
    for (const auto style : kStyles) {
      const auto result = unpack(tar, fresh_root(), style);
      if (style == WhiteoutStyle::erase) {
        code = code_of(result);
      }
      if (!result.ok()) {
        EXPECT_FALSE(result.error().what.empty());
        EXPECT_LT(result.error().what.size(), 2000u);
      }
    }
    expect_equal_trees(before, must(read_tree(outside())));
    return code;
  }

  [[nodiscard]] std::string outside() const { return (temporary.path() / "outside").string(); }
  [[nodiscard]] Folder last_root() const { return temporary.path() / ("root" + std::to_string(roots_ - 3)); }

  TemporaryFolder temporary;
  Tree before;

 private:
  int roots_ = 0;
};

TEST_F(Hostile, absolute_names_land_in_the_root) {
  EXPECT_EQ(unpack_everywhere(RawTar().file(outside() + "/canary", "evil").file("//x", "1").file("/./y", "2").data()),
            0);
  EXPECT_EQ(read_file(last_root().string() + outside() + "/canary"), "evil");
  EXPECT_EQ(read_file(last_root() / "x"), "1");
}

TEST_F(Hostile, names_that_climb_out_are_refused) {
  for (const std::string name : {"..", "../canary", "../outside/canary", "a/../../outside/canary",
                                 "./../outside/canary", "/../outside/canary", "a/b/../../../outside/canary", "../",
                                 "../outside/.wh.canary", "../outside/.wh..wh..opq", ".wh.x/../../outside/canary"}) {
    EXPECT_EQ(unpack_everywhere(RawTar().file(name, "evil").data()), EINVAL) << name;
    EXPECT_EQ(unpack_everywhere(RawTar().directory(name).data()), EINVAL) << name;
    EXPECT_EQ(unpack_everywhere(RawTar().file("x", "x").hard_link("y", name).data()), EINVAL) << name;
  }
}

TEST_F(Hostile, the_error_names_the_entry) {
  const auto result = unpack(RawTar().file("fine", "").file("../outside/canary", "evil").data(), fresh_root());
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().what.find("../outside/canary"), std::string::npos);
}

TEST_F(Hostile, dots_within_the_root_are_fine) {
  EXPECT_EQ(unpack_everywhere(RawTar().file("a/../b/./c//d", "x").file("./old/../e", "y").data()), 0);
  EXPECT_EQ(read_file(last_root() / "b/d"), "");
  EXPECT_EQ(read_file(last_root() / "b/c/d"), "x");
  EXPECT_EQ(read_file(last_root() / "e"), "y");
}

TEST_F(Hostile, the_root_itself_may_only_be_a_directory) {
  for (const char* name : {".", "./", "/", "a/.."}) {
    EXPECT_EQ(unpack_everywhere(RawTar().link(name, outside()).data()), EINVAL) << name;
    EXPECT_EQ(unpack_everywhere(RawTar().hard_link(name, "old/file").data()), EINVAL) << name;
    EXPECT_EQ(unpack_everywhere(RawTar().directory(name, 0711).data()), 0) << name;
    EXPECT_EQ(status_of(last_root()).st_mode & 07777, 0711u);
  }
}

TEST_F(Hostile, writing_through_a_link_stays_inside) {
  for (const std::string& target :
       {outside(), std::string("../outside"), std::string("/"), std::string("../../../../../..")}) {
    unpack_everywhere(RawTar()
                          .link("way", target)
                          .file("way/canary", "evil")
                          .directory("way/deep", 0777)
                          .whiteout("way/.wh.canary")
                          .whiteout("way/.wh..wh..opq")
                          .data());
  }
  unpack_everywhere(
      RawTar().link("a", "/").link("b", "a").link("c", "b/.." + outside()).file("c/canary", "evil").data());
  unpack_everywhere(RawTar().link("a", "a").file("a/x", "loop").data());
  unpack_everywhere(RawTar().link("a", "b").link("b", "a").file("a/x", "loop").whiteout("b/.wh.x").data());
}

TEST_F(Hostile, a_link_is_replaced_not_followed) {
  const std::string canary = outside() + "/canary";
  EXPECT_EQ(unpack_everywhere(RawTar().link("way", canary).file("way", "evil").data()), 0);
  EXPECT_EQ(read_file(last_root() / "way"), "evil");
  EXPECT_EQ(unpack_everywhere(RawTar().link("way", outside()).directory("way", 0777).file("way/canary", "evil").data()),
            0);
  EXPECT_EQ(read_file(last_root() / "way/canary"), "evil");
  EXPECT_EQ(
      unpack_everywhere(RawTar().link("way", canary).fifo("way").link("way", canary).device("way", '3', 1, 3).data()),
      0);
  EXPECT_TRUE(S_ISCHR(status_of(last_root() / "way").st_mode));
}

TEST_F(Hostile, links_that_stood_before_are_not_followed_either) {
  for (const auto style : kStyles) {
    const Folder root = fresh_root();
    make_link(outside() + "/canary", root / "file_way");
    make_link(outside(), root / "way");
    static_cast<void>(unpack(RawTar().file("file_way", "evil").file("way/canary", "evil").data(), root, style));
    EXPECT_EQ(read_file(root / "file_way"), "evil");
  }
}

TEST_F(Hostile, a_directory_replaced_by_a_link_takes_no_children_out) {
  unpack_everywhere(
      RawTar().directory("d/", 0777).file("d/x", "1").link("d", outside()).file("d/canary", "evil").data());
  unpack_everywhere(RawTar().directory("d/", 0777).link("d", outside() + "/deep").data());
  EXPECT_TRUE(S_ISLNK(status_of(last_root() / "d").st_mode));
  unpack_everywhere(RawTar().directory("d/e/", 0777).link("d", outside()).directory("x/").data());
}

TEST_F(Hostile, removing_a_directory_stops_at_links) {
  for (const auto style : kStyles) {
    const Folder root = fresh_root();
    make_link(outside(), root / "old/way");
    static_cast<void>(unpack(RawTar().file("old", "now a file").data(), root, style));
    EXPECT_EQ(read_file(root / "old"), "now a file");
    const Folder other = fresh_root();
    make_link(outside(), other / "old/way");
    static_cast<void>(unpack(RawTar().whiteout(".wh.old").data(), other, style));
    EXPECT_FALSE(stands(other / "old/way"));
  }
}

TEST_F(Hostile, hard_links_stay_inside) {
  const std::string canary = outside() + "/canary";
  EXPECT_EQ(unpack_everywhere(RawTar().hard_link("x", canary).data()), ENOENT);
  EXPECT_EQ(unpack_everywhere(RawTar().link("way", outside()).hard_link("x", "way/canary").file("x", "evil").data()),
            ENOENT);
  // A hard link to a link is that link, never what it leads to.
  EXPECT_EQ(unpack_everywhere(RawTar().link("way", canary).hard_link("x", "way").data()), 0);
  EXPECT_TRUE(S_ISLNK(status_of(last_root() / "x").st_mode));
  EXPECT_EQ(unpack_everywhere(RawTar().link("way", canary).hard_link("x", "way").file("x", "evil").data()), 0);
}

TEST_F(Hostile, hard_link_loops_end) {
  EXPECT_EQ(unpack_everywhere(RawTar().hard_link("a", "a").data()), ENOENT);
  EXPECT_EQ(unpack_everywhere(RawTar().hard_link("a", "b").hard_link("b", "a").data()), ENOENT);
  EXPECT_EQ(
      unpack_everywhere(RawTar().file("a", "x").hard_link("a", "a").hard_link("b", "a").hard_link("a", "b").data()), 0);
  EXPECT_EQ(read_file(last_root() / "a"), "x");
  EXPECT_EQ(unpack_everywhere(RawTar().directory("d/").hard_link("e", "d").data()), EINVAL);
}

TEST_F(Hostile, devices_and_fifos_in_the_way_are_not_opened) {
  EXPECT_EQ(unpack_everywhere(RawTar().fifo("x").file("x", "content").data()), 0);
  EXPECT_EQ(read_file(last_root() / "x"), "content");
  EXPECT_EQ(unpack_everywhere(RawTar().device("x", '4', 7, 200).file("x", "content").data()), 0);
  EXPECT_EQ(read_file(last_root() / "x"), "content");
  EXPECT_EQ(unpack_everywhere(RawTar().fifo("x").file("x/y", "below a fifo").data()), ENOTDIR);
  EXPECT_EQ(unpack_everywhere(RawTar().fifo("x").hard_link("y", "x").file("y", "1").data()), 0);
}

TEST_F(Hostile, names_with_a_nul_are_refused) {
  const std::string name("old\0/../../outside/canary", 25);
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"path", name}}).file("x", "evil").data()), EINVAL);
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"linkpath", name}}).link("x", "y").data()), EINVAL);
  EXPECT_EQ(unpack_everywhere(RawTar().gnu_long('L', name).file("x", "evil").data()), EINVAL);
  EXPECT_EQ(
      unpack_everywhere(RawTar().file("a", std::string(5000, 'a')).pax({{"path", name}}).file("x", "evil").data()),
      EINVAL);
}

TEST_F(Hostile, empty_names_are_refused) {
  EXPECT_EQ(unpack_everywhere(RawTar().file("", "x").data()), EINVAL);
  EXPECT_EQ(unpack_everywhere(RawTar().link("x", "").data()), EINVAL);
}

TEST_F(Hostile, long_names_are_an_error_not_a_crash) {
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"path", std::string(300, 'n')}}).file("x", "").data()), ENAMETOOLONG);
  std::string deep;
  for (int i = 0; i < 3000; ++i) {
    deep += "d/";
  }
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"path", deep + "f"}}).file("x", "").data()), ENAMETOOLONG);
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"path", deep.substr(0, 3000) + "f"}}).file("x", "1").data()), 0);
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"path", std::string(900000, '/') + "f"}}).file("x", "1").data()), 0);
  EXPECT_EQ(read_file(last_root() / "f"), "1");
}

TEST_F(Hostile, damaged_extended_headers_are_refused) {
  for (const std::string body :
       {"x", "12345", "99999999999999999999 path=x\n", "7 path=x\n", "0 path=x\n", "-1 path=x\n", "1000000 path=x\n",
        "11 path=xxxx", "\n\n\n\n", "6 path\n", "5 p=\n9"}) {
    const auto code = unpack_everywhere(
        RawTar().header({.name = "pax", .type = 'x', .size_bytes = body.size()}).content(body).file("x", "1").data());
    EXPECT_EQ(code, EINVAL) << body;
  }
  RawTar many;
  for (int i = 0; i < 2000; ++i) {
    many.pax({{"comment", std::string(100, 'c')}});
  }
  unpack_everywhere(many.file("x", "1").data());
  EXPECT_EQ(unpack_everywhere(
                RawTar().header({.name = "pax", .type = 'x', .size_bytes = 8ull << 30 >> 1}).file("x", "1").data()),
            EINVAL);
  EXPECT_EQ(unpack_everywhere(
                RawTar().header({.name = "L", .type = 'L', .size_bytes = 8ull << 30 >> 1}).file("x", "1").data()),
            EINVAL);
}

TEST_F(Hostile, odd_numbers_are_contained) {
  for (const char* value : {"-1", "99999999999999999999999", "0x10", "", "1e9", "4294967295", "4294967296"}) {
    unpack_everywhere(RawTar().pax({{"uid", value}, {"gid", value}}).file("x", "1").data());
    unpack_everywhere(RawTar().pax({{"mtime", value}}).file("x", "1").data());
    unpack_everywhere(RawTar().pax({{"mtime", std::string(value) + ".99999999999999"}}).directory("x/").data());
    unpack_everywhere(RawTar().pax({{"size", value}}).file("x", "1").file("y", "2").data());
    unpack_everywhere(RawTar()
                          .pax({{"GNU.sparse.size", value}, {"GNU.sparse.map", std::string(value) + "," + value}})
                          .file("x", "1")
                          .data());
    unpack_everywhere(RawTar()
                          .pax({{"GNU.sparse.major", "1"},
                                {"GNU.sparse.minor", "0"},
                                {"GNU.sparse.realsize", value},
                                {"GNU.sparse.name", "../outside/canary"}})
                          .file("x", "1\n0\n5\n")
                          .data());
  }
  EXPECT_EQ(unpack_everywhere(RawTar().pax({{"uid", "4294967295"}}).file("x", "1").data()), EINVAL);
}

TEST_F(Hostile, a_huge_claim_and_little_content_is_an_error) {
  for (const std::uint64_t size : {std::uint64_t{1000}, std::uint64_t{077777777777}}) {
    EXPECT_EQ(unpack_everywhere(RawTar().header({.name = "huge", .size_bytes = size}).bytes("little").open_end()),
              EINVAL);
  }
  const auto code = unpack_everywhere(
      RawTar().pax({{"size", "9223372036854775807"}}).header({.name = "huge"}).bytes("little").open_end());
  EXPECT_NE(code, 0);
}

TEST_F(Hostile, device_tricks_with_attributes_stay_attributes) {
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.", "x"}}).file("x", "1").data());
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.nonsense", "x"}}).file("x", "1").data());
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.user." + std::string(400, 'n'), "x"}}).file("x", "1").data());
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.user.big", std::string(100000, 'v')}}).file("x", "1").data());
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.user.a", "x"}}).link("x", outside()).data());
  unpack_everywhere(RawTar().pax({{"SCHILY.xattr.security.capability", "short"}}).file("x", "1").data());
}

TEST_F(Hostile, a_whiteout_loop_over_the_same_directory_ends) {
  RawTar tar;
  for (int i = 0; i < 200; ++i) {
    tar.directory("d/").file("d/x", "1").whiteout(".wh.d").whiteout("d/.wh..wh..opq").link("d", "d").whiteout(".wh.d");
  }
  unpack_everywhere(tar.data());
}

TEST_F(Hostile, cut_at_every_block_it_is_an_error_or_a_clean_prefix) {
  const std::string tar = RawTar()
                              .directory("d/")
                              .pax({{"path", "d/renamed"}, {"mtime", "1.5"}})
                              .file("d/x", std::string(1500, 'x'))
                              .gnu_long('L', "d/" + std::string(200, 'l'))
                              .file("short", "12")
                              .link("l", "d")
                              .hard_link("h", "d/renamed")
                              .whiteout(".wh.old")
                              .data();
  const Folder whole = fresh_root();
  must(unpack(tar, whole));
  const Tree complete = must(read_tree(whole, {.directory_times = false}));
  for (std::size_t size = 0; size < tar.size(); size += 256) {
    const Folder root = fresh_root();
    const auto result = unpack(tar.substr(0, size), root);
    if (!result.ok()) {
      EXPECT_EQ(result.error().code, EINVAL) << size << ": " << result.error().what;
      continue;
    }
    for (const auto& [path, entry] : must(read_tree(root, {.directory_times = false}))) {
      if (path != "old" && path != "old/file" && path != ".") {
        EXPECT_EQ(entry.content_hash, complete.at(path).content_hash) << "cut at " << size << ": " << path;
        EXPECT_EQ(entry.size_bytes, complete.at(path).size_bytes) << "cut at " << size << ": " << path;
      }
    }
  }
}

TEST_F(Hostile, random_damage_never_leads_outside) {
  const std::uint64_t seed = 4711;
  SCOPED_TRACE("seed " + std::to_string(seed));
  const std::string tar = RawTar()
                              .directory("d/")
                              .pax({{"path", "d/renamed"}, {"mtime", "1.5"}, {"SCHILY.xattr.user.a", "1"}})
                              .file("d/x", std::string(700, 'x'))
                              .link("l", outside())
                              .file("l/canary", "evil")
                              .hard_link("h", "d/renamed")
                              .whiteout("d/.wh.old")
                              .whiteout("d/.wh..wh..opq")
                              .fifo("p")
                              .data();
  Rng rng(seed, "damage");
  for (int i = 0; i < 300; ++i) {
    std::string damaged = tar;
    for (std::uint64_t hits = 1 + rng.below(4); hits > 0; --hits) {
      const std::size_t at = rng.below(damaged.size());
      damaged[at] = static_cast<char>(rng.next());
      // A right checksum lets the damage through to where it matters.
      const std::size_t block = at / 512 * 512;
      damaged.replace(block + 148, 8, "        ");
      unsigned sum = 0;
      for (std::size_t byte = block; byte < block + 512; ++byte) {
        sum += static_cast<unsigned char>(damaged[byte]);
      }
      damaged.replace(block + 148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
    }
    static_cast<void>(unpack(damaged, fresh_root(), kStyles[rng.below(3)]));
  }
}

TEST_F(Hostile, what_is_no_tar_is_refused) {
  EXPECT_EQ(unpack_everywhere("this is no tar"), EINVAL);
  EXPECT_EQ(unpack_everywhere(std::string(10240, 'x')), EINVAL);
  EXPECT_EQ(unpack_everywhere(""), EINVAL);
  EXPECT_EQ(unpack_everywhere(RawTar().data()), 0);
}

/// Fails after some bytes.
class BrokenSource final : public ByteSource {
 public:
  explicit BrokenSource(std::string data) : data_(std::move(data)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (done_) {
      return make_error(ECONNRESET, "cannot read the layer");
    }
    done_ = true;
    std::copy_n(std::as_bytes(std::span(data_)).begin(), data_.size(), buffer.begin());
    return data_.size();
  }

 private:
  std::string data_;
  bool done_ = false;
};

TEST_F(Hostile, an_error_of_the_source_comes_through_unchanged) {
  BrokenSource source(RawTar().file("x", "1").header({.name = "y", .size_bytes = 4000}).open_end());
  const auto result = apply_layer(source, fresh_root(), WhiteoutStyle::erase);
  EXPECT_EQ(code_of(result), ECONNRESET);
}

/// Both resolvers must agree on every path, and never leave the root.
TEST_F(Hostile, the_walking_resolver_agrees_with_the_kernel) {
  const Folder root = fresh_root();
  make_link("/", root / "slash");
  make_link("..", root / "up");
  make_link("../../../../../../..", root / "old/far_up");
  make_link("/old", root / "absolute");
  make_link(outside(), root / "out");
  make_link("loop", root / "loop");
  make_link("nowhere", root / "dangling");
  make_link("slash/up/old/../absolute", root / "winding");
  make_link("old/file", root / "to_file");
  for (const char* path :
       {".", "old", "slash", "up", "old/far_up", "old/far_up/old", "absolute", "out", "loop", "dangling", "winding",
        "to_file", "old/file", "missing", "missing/x", "slash/slash/slash/old", "up/up/absolute"}) {
    SCOPED_TRACE(path);
    auto by_kernel = ContainedRoot::open(root, ContainedRoot::Resolver::kernel).value().open_directory(path);
    auto by_walk = ContainedRoot::open(root, ContainedRoot::Resolver::walk).value().open_directory(path);
    ASSERT_EQ(code_of(by_kernel), code_of(by_walk));
    if (by_kernel.ok()) {
      struct stat a {};
      struct stat b {};
      ASSERT_EQ(::fstat(by_kernel->get(), &a), 0);
      ASSERT_EQ(::fstat(by_walk->get(), &b), 0);
      EXPECT_EQ(a.st_ino, b.st_ino);
      EXPECT_NE(a.st_ino, status_of(outside()).st_ino);
    }
  }
}

}  // namespace
}  // namespace sbench
