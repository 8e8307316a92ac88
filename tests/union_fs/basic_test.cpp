// What a union shows and does, one rule a test, in both dialects.
#include <linux/fs.h>

#include "drivers/layer/whiteout.h"
#include "tests/union_fs/union_test.h"

namespace sbench::testing {
namespace {

using Names = std::set<std::string>;

INSTANTIATE_TEST_SUITE_P(Dialects, BothDialects, ::testing::Values(UnionDialect::aufs, UnionDialect::overlay),
                         dialect_name);

TEST_P(BothDialects, nearest_branch_wins_and_directories_merge) {
  UnionFolder folder;
  put_file(folder.lower(1) / "d/a", "near");
  put_file(folder.lower(2) / "d/a", "far");
  put_file(folder.lower(2) / "d/b", "only far");
  put_file(folder.upper() / "d/c", "upper");
  PathCalls calls(folder.open(folder.options(GetParam())));
  EXPECT_EQ(calls.content("d/a"), "near");
  EXPECT_EQ(calls.content("d/b"), "only far");
  EXPECT_EQ(calls.content("d/c"), "upper");
  EXPECT_EQ(calls.names("d"), (Names{"a", "b", "c"}));
  EXPECT_FALSE(calls.exists("d/x"));
}

TEST_P(BothDialects, unlinked_lower_files_stay_away_and_can_come_back) {
  UnionFolder folder;
  put_file(folder.lower(1) / "d/a", "1");
  put_file(folder.lower(2) / "d/a", "2");
  const auto options = folder.options(GetParam());
  {
    PathCalls calls(folder.open(options));
    EXPECT_EQ(calls.unlink("d/a"), 0);
    EXPECT_FALSE(calls.exists("d/a"));
    EXPECT_EQ(calls.names("d"), Names{});
    EXPECT_EQ(calls.unlink("d/a"), ENOENT);
  }
  {
    PathCalls calls(folder.open(options));
    EXPECT_FALSE(calls.exists("d/a"));
    EXPECT_EQ(calls.write("d/a", "new"), 0);
    EXPECT_EQ(calls.content("d/a"), "new");
  }
  PathCalls calls(folder.open(options));
  EXPECT_EQ(calls.content("d/a"), "new");
  EXPECT_EQ(calls.unlink("d/a"), 0);
  EXPECT_EQ(calls.rmdir("d"), 0);
  EXPECT_EQ(calls.mkdir("d"), 0);
  EXPECT_EQ(calls.names("d"), Names{});
  PathCalls again(folder.open(options));
  EXPECT_EQ(again.names("d"), Names{});
}

TEST_P(BothDialects, writing_copies_up_with_all_metadata) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "a/b/f", "0123456789", 04750);
  ASSERT_EQ(::chown((folder.lower(1) / "a/b/f").c_str(), 11, 12), 0);
  ASSERT_EQ(::chmod((folder.lower(1) / "a/b/f").c_str(), 04750), 0);
  ASSERT_EQ(::setxattr((folder.lower(1) / "a/b/f").c_str(), "user.x", "y", 1, 0), 0);
  ASSERT_EQ(::chmod((folder.lower(1) / "a").c_str(), 0711), 0);
  PathCalls calls(folder.open(folder.options(GetParam())));
  struct stat before {};
  ASSERT_EQ(calls.stat("a/b/f", before), 0);
  struct stat directory_before {};
  ASSERT_EQ(calls.stat("a/b", directory_before), 0);
  EXPECT_EQ(calls.write("a/b/f", "XX", 3, 0), 0);
  EXPECT_EQ(calls.content("a/b/f"), "012XX56789");
  struct stat after {};
  ASSERT_EQ(calls.stat("a/b/f", after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_uid, 11u);
  EXPECT_EQ(after.st_gid, 12u);
  EXPECT_EQ(after.st_mode, before.st_mode);
  struct stat directory_after {};
  ASSERT_EQ(calls.stat("a/b", directory_after), 0);
  EXPECT_EQ(directory_after.st_mtim.tv_nsec, directory_before.st_mtim.tv_nsec);
  EXPECT_EQ(directory_after.st_ino, directory_before.st_ino);
  struct stat in_upper {};
  ASSERT_EQ(::stat((folder.upper() / "a").c_str(), &in_upper), 0);
  EXPECT_EQ(in_upper.st_mode & 07777, 0711u);
  char value[4];
  EXPECT_EQ(::getxattr((folder.upper() / "a/b/f").c_str(), "user.x", value, sizeof value), 1);
}

TEST_P(BothDialects, new_files_belong_to_the_caller) {
  UnionFolder folder(1);
  std::filesystem::create_directories(folder.lower(1) / "d");
  ASSERT_EQ(::chown((folder.lower(1) / "d").c_str(), 5, 6), 0);
  ASSERT_EQ(::chmod((folder.lower(1) / "d").c_str(), 02777), 0);
  FileSystem& fs = folder.open(folder.options(GetParam()));
  PathCalls calls(fs, Caller{1000, 1001, 1, 027});
  ASSERT_EQ(calls.write("f", "x", 0, O_CREAT, 0666), 0);
  ASSERT_EQ(calls.mkdir("d/sub", 0777), 0);
  ASSERT_EQ(calls.write("d/f", "x", 0, O_CREAT, 04755), 0);
  ASSERT_EQ(calls.symlink("f", "l"), 0);
  struct stat status {};
  ASSERT_EQ(calls.stat("f", status), 0);
  EXPECT_EQ(status.st_uid, 1000u);
  EXPECT_EQ(status.st_gid, 1001u);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  ASSERT_EQ(calls.stat("d/sub", status), 0);
  EXPECT_EQ(status.st_gid, 6u);
  EXPECT_EQ(status.st_mode & 07777, 02750u);
  ASSERT_EQ(calls.stat("d/f", status), 0);
  EXPECT_EQ(status.st_uid, 1000u);
  EXPECT_EQ(status.st_gid, 6u);
  EXPECT_EQ(status.st_mode & 07777, 04750u);
  ASSERT_EQ(calls.stat("l", status), 0);
  EXPECT_EQ(status.st_uid, 1000u);
}

TEST_P(BothDialects, renames_of_files) {
  UnionFolder folder;
  put_file(folder.lower(1) / "a", "a");
  put_file(folder.lower(2) / "b", "b");
  put_file(folder.lower(2) / "d/c", "c");
  const auto options = folder.options(GetParam());
  PathCalls calls(folder.open(options));
  EXPECT_EQ(calls.rename("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(calls.rename("a", "b"), 0);
  EXPECT_EQ(calls.content("b"), "a");
  EXPECT_FALSE(calls.exists("a"));
  EXPECT_EQ(calls.rename("b", "d/c", RENAME_EXCHANGE), 0);
  EXPECT_EQ(calls.content("b"), "c");
  EXPECT_EQ(calls.content("d/c"), "a");
  EXPECT_EQ(calls.rename("d/c", "a"), 0);
  EXPECT_EQ(calls.rename("x", "a"), ENOENT);
  PathCalls again(folder.open(options));
  EXPECT_EQ(again.content("a"), "a");
  EXPECT_EQ(again.content("b"), "c");
  EXPECT_EQ(again.names(""), (Names{"a", "b", "d"}));
  EXPECT_EQ(again.names("d"), Names{});
}

TEST_P(BothDialects, renames_of_directories) {
  UnionFolder folder;
  put_file(folder.lower(1) / "lower/f", "f");
  auto options = folder.options(GetParam());
  PathCalls calls(folder.open(options));
  EXPECT_EQ(calls.rename("lower", "moved"), EXDEV);
  EXPECT_EQ(calls.mkdir("new"), 0);
  EXPECT_EQ(calls.write("new/x", "x"), 0);
  EXPECT_EQ(calls.rename("new", "lower"), ENOTEMPTY);
  EXPECT_EQ(calls.unlink("lower/f"), 0);
  EXPECT_EQ(calls.rename("new", "lower"), 0);
  EXPECT_EQ(calls.names("lower"), Names{"x"});
  EXPECT_EQ(calls.rename("lower", "lower/x"), EINVAL);
  PathCalls again(folder.open(options));
  EXPECT_EQ(again.names("lower"), Names{"x"});
  EXPECT_EQ(again.names(""), Names{"lower"});
}

TEST(OverlayDialect, directories_with_lower_content_move_with_redirects) {
  UnionFolder folder;
  put_file(folder.lower(1) / "a/b/f", "f");
  put_file(folder.lower(2) / "a/b/g", "g");
  put_file(folder.lower(2) / "a/h", "h");
  auto options = folder.options(UnionDialect::overlay);
  options.redirect_dir = true;
  {
    PathCalls calls(folder.open(options));
    EXPECT_EQ(calls.rename("a/b", "moved"), 0);
    EXPECT_EQ(calls.names("moved"), (Names{"f", "g"}));
    EXPECT_EQ(calls.rename("a", "moved/a"), 0);
    EXPECT_EQ(calls.names("moved/a"), Names{"h"});
    EXPECT_EQ(calls.mkdir("a"), 0);
    EXPECT_EQ(calls.names("a"), Names{});
    EXPECT_EQ(calls.write("moved/g", "G", 0, 0), 0);
  }
  PathCalls calls(folder.open(options));
  EXPECT_EQ(calls.names(""), (Names{"a", "moved"}));
  EXPECT_EQ(calls.names("moved"), (Names{"a", "f", "g"}));
  EXPECT_EQ(calls.content("moved/g"), "G");
  EXPECT_EQ(calls.content("moved/a/h"), "h");
  EXPECT_EQ(calls.names("a"), Names{});
}

TEST_P(BothDialects, unlinked_open_files_live_on) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "f", "lower");
  FileSystem& fs = folder.open(folder.options(GetParam()));
  PathCalls calls(fs);
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("f", node), 0);
  auto reader = fs.open(node.node(), O_RDONLY);
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(calls.unlink("f"), 0);
  EXPECT_FALSE(calls.exists("f"));
  std::string data(5, '\0');
  auto count = fs.read(node.node(), reader.value().handle, std::as_writable_bytes(std::span(data)), 0);
  ASSERT_TRUE(count.ok());
  EXPECT_EQ(data, "lower");
  auto attributes = fs.attributes(node.node(), 0);
  ASSERT_TRUE(attributes.ok());
  EXPECT_EQ(attributes.value().st_nlink, 0u);
  auto writer = fs.open(node.node(), O_RDWR);  // through /proc/self/fd, say
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(fs.write(node.node(), writer.value().handle, std::as_bytes(std::span("UPPER", 5)), 0).ok());
  count = fs.read(node.node(), reader.value().handle, std::as_writable_bytes(std::span(data)), 0);
  EXPECT_EQ(data, "UPPER");
  fs.release(node.node(), reader.value().handle);
  fs.release(node.node(), writer.value().handle);
  EXPECT_FALSE(calls.exists("f"));
  EXPECT_EQ(calls.write("f", "next"), 0);
  EXPECT_EQ(calls.content("f"), "next");
}

TEST_P(BothDialects, readers_see_the_copy_after_copy_up) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "f", "lower");
  FileSystem& fs = folder.open(folder.options(GetParam()));
  PathCalls calls(fs);
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("f", node), 0);
  auto reader = fs.open(node.node(), O_RDONLY);
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(calls.write("f", "UP", 0, 0), 0);
  std::string data(5, '\0');
  ASSERT_TRUE(fs.read(node.node(), reader.value().handle, std::as_writable_bytes(std::span(data)), 0).ok());
  EXPECT_EQ(data, "UPwer");
  auto later = fs.open(node.node(), O_RDONLY);
  ASSERT_TRUE(later.ok());
  EXPECT_NE(later.value().backing_key, reader.value().backing_key);
  fs.release(node.node(), later.value().handle);
  fs.release(node.node(), reader.value().handle);
}

TEST_P(BothDialects, truncation_copies_only_what_stays) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "f", std::string(100000, 'x'));
  PathCalls calls(folder.open(folder.options(GetParam())));
  EXPECT_EQ(calls.truncate("f", 5), 0);
  EXPECT_EQ(calls.content("f"), "xxxxx");
  EXPECT_EQ(calls.truncate("f", 7), 0);
  EXPECT_EQ(calls.content("f"), std::string("xxxxx\0\0", 7));
}

TEST_P(BothDialects, a_union_without_upper_is_read_only) {
  UnionFolder folder;
  put_file(folder.lower(1) / "f", "1");
  auto options = folder.options(GetParam());
  options.upper.reset();
  options.work.reset();
  PathCalls calls(folder.open(options));
  EXPECT_EQ(calls.content("f"), "1");
  EXPECT_EQ(calls.write("f", "2"), EROFS);
  EXPECT_EQ(calls.write("g", "2"), EROFS);
  EXPECT_EQ(calls.unlink("f"), EROFS);
  EXPECT_EQ(calls.chmod("f", 0600), EROFS);
}

TEST(AufsDialect, internal_names_do_not_exist_and_cannot_be_made) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "d/f", "1");
  put_file(folder.lower(1) / "d/g", "1");
  PathCalls calls(folder.open(folder.options(UnionDialect::aufs)));
  ASSERT_EQ(calls.unlink("d/f"), 0);
  struct stat whiteout {};
  struct stat base {};
  ASSERT_EQ(::stat((folder.upper() / "d/.wh.f").c_str(), &whiteout), 0);
  ASSERT_EQ(::stat((folder.upper() / ".wh..wh.aufs").c_str(), &base), 0);
  EXPECT_EQ(whiteout.st_ino, base.st_ino);
  EXPECT_EQ(calls.names("d"), Names{"g"});
  EXPECT_EQ(calls.names(""), Names{"d"});
  EXPECT_FALSE(calls.exists("d/.wh.f"));
  EXPECT_FALSE(calls.exists(".wh..wh.aufs"));
  EXPECT_EQ(calls.write("d/.wh.x", "1"), EPERM);
  EXPECT_EQ(calls.mkdir(".wh..wh.x"), EPERM);
  EXPECT_EQ(calls.symlink("a", "d/.wh.g"), EPERM);
  EXPECT_EQ(calls.rename("d/g", "d/.wh.g"), EPERM);
  EXPECT_EQ(calls.unlink("d/.wh.f"), ENOENT);
  EXPECT_EQ(calls.write(std::string(252, 'x'), "1"), ENAMETOOLONG);
}

TEST(OverlayDialect, its_attributes_and_whiteouts_are_hidden) {
  UnionFolder folder;
  put_file(folder.lower(1) / "d/f", "1");
  FileSystem& fs = folder.open(folder.options(UnionDialect::overlay));
  PathCalls calls(fs);
  ASSERT_EQ(calls.unlink("d/f"), 0);
  struct stat whiteout {};
  ASSERT_EQ(::lstat((folder.upper() / "d/f").c_str(), &whiteout), 0);
  EXPECT_TRUE(is_overlay_whiteout(whiteout));
  EXPECT_EQ(calls.mknod("d/f", S_IFCHR | 0600, 0), EPERM);
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("d", node), 0);
  auto names = fs.xattr_names(node.node());
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(names.value().find("overlay"), std::string::npos);
  EXPECT_EQ(fs.xattr(node.node(), "trusted.overlay.origin").error().code, ENODATA);
  EXPECT_EQ(calls.set_xattr("d", "trusted.overlay.opaque", "y"), EOPNOTSUPP);
}

TEST(OverlayDialect, attribute_whiteouts_of_other_tools_are_honoured) {
  UnionFolder folder;
  put_file(folder.lower(1) / "d/gone", "");
  put_file(folder.lower(1) / "d/empty", "");
  ASSERT_EQ(::setxattr((folder.lower(1) / "d").c_str(), "trusted.overlay.opaque", "x", 1, 0), 0);
  ASSERT_EQ(::setxattr((folder.lower(1) / "d/gone").c_str(), "trusted.overlay.whiteout", "", 0, 0), 0);
  put_file(folder.lower(2) / "d/gone", "2");
  put_file(folder.lower(2) / "d/there", "2");
  PathCalls calls(folder.open(folder.options(UnionDialect::overlay)));
  EXPECT_FALSE(calls.exists("d/gone"));
  EXPECT_EQ(calls.names("d"), (Names{"empty", "there"}));
}

TEST_P(BothDialects, five_hundred_branches) {
  UnionFolder folder(kUnionLowerMax);
  for (std::size_t i = 1; i <= kUnionLowerMax; ++i) {
    put_file(folder.lower(i) / "d" / fmt::format("f{}", i), std::to_string(i));
  }
  PathCalls calls(folder.open(folder.options(GetParam())));
  EXPECT_EQ(calls.names("d").size(), kUnionLowerMax);
  EXPECT_EQ(calls.content("d/f500"), "500");
  EXPECT_EQ(calls.unlink("d/f500"), 0);
  EXPECT_FALSE(calls.exists("d/f500"));
  auto options = folder.options(GetParam());
  options.lower.push_back(folder.lower(1));
  EXPECT_EQ(open_union(options).error().code, EINVAL);
}

TEST_P(BothDialects, special_files_and_links) {
  UnionFolder folder(1);
  ASSERT_EQ(::mkfifo((folder.lower(1) / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(::mknod((folder.lower(1) / "dev").c_str(), S_IFBLK | 0600, makedev(7, 3)), 0);
  ASSERT_EQ(::symlink("fifo", (folder.lower(1) / "link").c_str()), 0);
  PathCalls calls(folder.open(folder.options(GetParam())));
  struct stat status {};
  for (const char* name : {"fifo", "dev", "link"}) {
    EXPECT_EQ(calls.chown(name, 7, 8), 0) << name;
    ASSERT_EQ(calls.stat(name, status), 0);
    EXPECT_EQ(status.st_uid, 7u);
    ASSERT_EQ(::lstat((folder.upper() / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_gid, 8u);
  }
  ASSERT_EQ(calls.stat("dev", status), 0);
  EXPECT_EQ(status.st_rdev, makedev(7, 3));
  ASSERT_EQ(calls.write("f", "1"), 0);
  ASSERT_EQ(calls.link("f", "g"), 0);
  ASSERT_EQ(calls.stat("g", status), 0);
  EXPECT_EQ(status.st_nlink, 2u);
  ASSERT_EQ(calls.unlink("f"), 0);
  EXPECT_EQ(calls.content("g"), "1");
  ASSERT_EQ(calls.stat("g", status), 0);
  EXPECT_EQ(status.st_nlink, 1u);
  EXPECT_EQ(calls.link("d", "x"), ENOENT);
}

}  // namespace
}  // namespace sbench::testing
