// GNU tar as the other party: it reads what TarWriter writes, and its own tars unpack here.
#include <fcntl.h>
#include <unistd.h>

#include <fstream>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/layer/naive_diff.h"
#include "tests/layer/layer_test.h"

namespace sbench {
namespace {

using namespace testing;

class GnuTar : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "makes devices and changes owners: needs root";
    }
    if (find_program("tar").empty()) {
      GTEST_SKIP() << "there is no tar program here";
    }
    from = make_folder(temporary, "from");
    to = make_folder(temporary, "to");
    write_file(from / "d/file", std::string(70000, 'f'), 04755);
    ASSERT_EQ(::chown((from / "d/file").c_str(), 1234567, 89), 0);
    ::chmod((from / "d/file").c_str(), 04755);
    make_hard_link(from / "d/file", from / "linked");
    make_link("d/file", from / "link");
    make_fifo(from / "fifo");
    make_device(from / "null", S_IFCHR, 1, 3);
    write_file(from / ("d/" + std::string(180, 'l')), "long");
    make_link(std::string(500, 't'), from / "long_target");
    set_mtime_ns(from / "d/file", 1'234'567'890'000'000'000);
  }

  void add_pax_only_properties() const {
    set_xattr(from / "d/file", "user.note", std::string("va\0lue", 6));
    set_xattr(from / "d", "trusted.note", "on a directory");
    set_mtime_ns(from / "d/file", 1'234'567'890'123'456'789);
    write_file(from / "caf\xc3\xa9 e\xcc\x81", "");
  }

  void add_holes() const {
    const int fd = ::open((from / "holes").c_str(), O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 40; ++i) {  // more runs than one header's map holds
      ASSERT_EQ(::pwrite(fd, "data", 4, static_cast<off_t>(i) * (256 << 10)), 4);
    }
    ASSERT_EQ(::ftruncate(fd, 30 << 20), 0);
    ::close(fd);
  }

  /// Packs `from` with tar and these flags, unpacks it here.
  void unpack_tar_made_with(std::vector<std::string> flags) const {
    const Folder tar = temporary.path() / "layer.tar";
    std::vector<std::string> argv = {"tar", "-C", from.string(), "--numeric-owner", "-cf", tar.string()};
    argv.insert(argv.end(), flags.begin(), flags.end());
    argv.push_back(".");
    static_cast<void>(must(run_checked(argv)));
    must(unpack(must(read_text(tar)), to));
  }

  TemporaryFolder temporary;
  Folder from;
  Folder to;
};

TEST_F(GnuTar, reads_what_we_write) {
  add_pax_only_properties();
  MemorySink sink;
  must(write_changes(must(naive_changes({}, from)), from, sink));
  const Folder tar = temporary.path() / "ours.tar";
  std::ofstream(tar, std::ios::binary) << sink.data();
  const auto listing = must(run_checked({"tar", "-tf", tar.string()}));
  EXPECT_EQ(line_count(listing), must(read_tree(from)).size());
  static_cast<void>(must(run_checked(
      {"tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", to.string(), "-xpf", tar.string()})));
  expect_equal_trees(from, to);
}

TEST_F(GnuTar, its_pax_tars_unpack) {
  add_pax_only_properties();
  unpack_tar_made_with({"--format=pax", "--xattrs", "--xattrs-include=*"});
  expect_equal_trees(from, to);
}

TEST_F(GnuTar, its_gnu_tars_unpack) {
  unpack_tar_made_with({"--format=gnu"});
  for (auto& [path, entry] : must(read_tree(from))) {
    SCOPED_TRACE(path);
    TreeEntry expected = entry;
    expected.mtime_ns -= ((expected.mtime_ns % 1'000'000'000) + 1'000'000'000) % 1'000'000'000;
    EXPECT_EQ(must(read_tree(to)).at(path), expected);
  }
}

TEST_F(GnuTar, its_sparse_files_keep_their_holes) {
  add_holes();
  const std::vector<std::vector<std::string>> forms = {{"--format=gnu", "--sparse"},
                                                       {"--format=pax", "--sparse", "--sparse-version=0.0"},
                                                       {"--format=pax", "--sparse", "--sparse-version=0.1"},
                                                       {"--format=pax", "--sparse", "--sparse-version=1.0"}};
  for (const auto& form : forms) {
    SCOPED_TRACE(form.back() + " " + form.front());
    unpack_tar_made_with(form);
    EXPECT_EQ(must(read_tree(to)).at("holes").content_hash, must(read_tree(from)).at("holes").content_hash);
    EXPECT_EQ(status_of(to / "holes").st_size, 30 << 20);
    EXPECT_LT(status_of(to / "holes").st_blocks * 512, 2 << 20);
    std::filesystem::remove_all(to);
    std::filesystem::create_directory(to);
  }
}

TEST_F(GnuTar, its_old_formats_unpack) {
  for (const char* format : {"--format=ustar", "--format=v7"}) {
    const Folder small = make_folder(temporary, format);
    write_file(small / "d/f", "x");
    make_link("f", small / "d/l");
    set_mtime_ns(small / "d/f", 1'000'000'000'000'000'000);
    set_mtime_ns(small / "d/l", 1'000'000'000'000'000'000);
    set_mtime_ns(small / "d", 1'000'000'000'000'000'000);
    set_mtime_ns(small, 1'000'000'000'000'000'000);
    const Folder tar = temporary.path() / "old.tar";
    static_cast<void>(must(run_checked({"tar", format, "-C", small.string(), "-cf", tar.string(), "."})));
    const Folder target = make_folder(temporary, std::string("to") + format);
    must(unpack(must(read_text(tar)), target));
    expect_equal_trees(small, target);
  }
}

TEST_F(GnuTar, an_existing_tree_is_updated_in_place) {
  write_file(to / "d/stays", "here");
  set_xattr(to / "d", "user.gone", "1");
  write_file(to / "link", "was a file");
  std::filesystem::create_directories(to / "fifo/was/a/directory");
  unpack_tar_made_with({"--format=pax"});
  EXPECT_EQ(read_file(to / "d/stays"), "here");
  EXPECT_EQ(xattr_of(to / "d", "user.gone"), "(none)");
  EXPECT_TRUE(S_ISFIFO(status_of(to / "fifo").st_mode));
  EXPECT_TRUE(S_ISLNK(status_of(to / "link").st_mode));
}

TEST_F(GnuTar, new_files_inherit_no_acl_that_the_tar_does_not_have) {
  const std::string acl(
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\2\0\7\0\x05\0\0\0\4\0\5\0\xff\xff\xff\xff\x10\0\7\0\xff\xff\xff\xff\x20\0\5\0"
      "\xff\xff\xff\xff",
      44);
  std::filesystem::create_directories(to / "d");
  set_xattr(to / "d", "system.posix_acl_default", acl);
  unpack_tar_made_with({"--format=pax"});
  EXPECT_EQ(xattr_of(to / "d/file", "system.posix_acl_access"), "(none)");
  EXPECT_EQ(status_of(to / "d/file").st_mode & 07777, 04755u);
}

}  // namespace
}  // namespace sbench
