// session_test.cpp: what programs see of a file system that is served through the kernel.
#include <dirent.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <cstring>
#include <set>
#include <thread>

#include "tests/fuse/served.h"

namespace sbench::test {
namespace {

class Session : public ::testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_FUSE(); }
};

struct stat stat_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path << ": " << std::strerror(errno);
  return status;
}

/// Runs `body` in a child as another user; its result is the exit code.
int as_user(uid_t uid, const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) {
      ::_exit(100);
    }
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

TEST_F(Session, files_of_every_type_are_made_and_seen_below) {
  Served served;
  write_text(served.at() / "file", "content");
  fs::create_directory(served.at() / "dir");
  fs::create_symlink("file", served.at() / "link");
  fs::create_hard_link(served.at() / "file", served.at() / "dir" / "hard");
  ASSERT_EQ(::mknod((served.at() / "null").c_str(), S_IFCHR | 0666, makedev(1, 300)), 0);
  ASSERT_EQ(::mkfifo((served.at() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_text_of(served.below() / "dir" / "hard"), "content");
  EXPECT_EQ(fs::read_symlink(served.below() / "link"), "file");
  EXPECT_EQ(stat_of(served.at() / "null").st_rdev, makedev(1, 300));
  EXPECT_EQ(stat_of(served.at() / "file").st_nlink, 2u);
  EXPECT_EQ(stat_of(served.at() / "file").st_ino, stat_of(served.at() / "dir" / "hard").st_ino);
  fs::remove(served.at() / "dir" / "hard");
  EXPECT_EQ(stat_of(served.at() / "file").st_nlink, 1u);
  must(served.server->stop());
}

TEST_F(Session, renames_take_all_flags) {
  Served served;
  write_text(served.at() / "a", "A");
  write_text(served.at() / "b", "B");
  const auto rename = [&](const char* from, const char* to, unsigned flags) {
    return ::renameat2(AT_FDCWD, (served.at() / from).c_str(), AT_FDCWD, (served.at() / to).c_str(), flags) == 0 ? 0 : errno;
  };
  EXPECT_EQ(rename("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(rename("a", "b", RENAME_EXCHANGE), 0);
  EXPECT_EQ(read_text_of(served.at() / "a"), "B");
  EXPECT_EQ(rename("a", "c", RENAME_WHITEOUT), 0);
  EXPECT_TRUE(S_ISCHR(stat_of(served.at() / "a").st_mode));
  EXPECT_EQ(rename("c", "b", 0), 0);
  EXPECT_EQ(read_text_of(served.at() / "b"), "B");
  EXPECT_FALSE(fs::exists(served.at() / "c"));
}

TEST_F(Session, names_attributes_and_missing_names_are_cached) {
  Served served;
  write_text(served.at() / "file", "x");
  stat_of(served.at() / "file");
  EXPECT_NE(::access((served.at() / "none").c_str(), F_OK), 0);
  const auto before = served.control->lookups.load();
  for (int i = 0; i < 50; ++i) {
    stat_of(served.at() / "file");
    EXPECT_NE(::access((served.at() / "none").c_str(), F_OK), 0);
  }
  EXPECT_EQ(served.control->lookups.load(), before);
  write_text(served.at() / "none", "now it is");
  EXPECT_EQ(read_text_of(served.at() / "none"), "now it is");
}

void check_io(Served& served) {
  const Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT);
  const std::string block(300'000, 'b');
  ASSERT_EQ(::pwrite(file.get(), block.data(), block.size(), 100), static_cast<ssize_t>(block.size()));
  EXPECT_EQ(stat_of(served.at() / "file").st_size, 300'100);
  std::string back(block.size(), '\0');
  ASSERT_EQ(::pread(file.get(), back.data(), back.size(), 100), static_cast<ssize_t>(back.size()));
  EXPECT_EQ(back, block);
  const Fd append = must_open(served.at() / "file", O_WRONLY | O_APPEND);
  ASSERT_EQ(::write(append.get(), "end", 3), 3);
  EXPECT_EQ(stat_of(served.at() / "file").st_size, 300'103);
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 65536), 0);
  EXPECT_EQ(::lseek(file.get(), 8192, SEEK_HOLE), 8192);
  char byte = 'x';
  ASSERT_EQ(::pread(file.get(), &byte, 1, 9000), 1);
  EXPECT_EQ(byte, '\0');
  ASSERT_EQ(::fsync(file.get()), 0);
  const Fd copy = must_open(served.at() / "copy", O_RDWR | O_CREAT);
  off_t from = 300'100;
  EXPECT_EQ(::copy_file_range(file.get(), &from, copy.get(), nullptr, 3, 0), 3);
  EXPECT_EQ(read_text_of(served.at() / "copy"), "end");
  const Fd truncated = must_open(served.at() / "file", O_WRONLY | O_TRUNC);
  EXPECT_EQ(stat_of(served.at() / "file").st_size, 0);
  EXPECT_EQ(::pread(file.get(), &byte, 1, 0), 0);
}

TEST_F(Session, input_and_output_pass_through_to_the_backing_file) {
  Served served;
  check_io(served);
  EXPECT_EQ(served.control->reads.load(), 0u);
  EXPECT_EQ(served.control->writes.load(), 0u);
  must(served.server->stop());
}

TEST_F(Session, input_and_output_are_the_same_through_the_page_cache) {
  fuse::ServerOptions options;
  options.session.passthrough = false;
  Served served(options);
  check_io(served);
  EXPECT_GT(served.control->writes.load(), 0u);
  must(served.server->stop());
}

fuse::ServerOptions without_opens() {
  fuse::ServerOptions options;
  options.session.passthrough = false;
  options.session.opens = false;
  return options;
}

TEST_F(Session, input_and_output_are_the_same_without_opening) {
  Served served(without_opens());
  check_io(served);
  EXPECT_GT(served.control->writes.load(), 0u);
  must(served.server->stop());
}

TEST_F(Session, opening_and_closing_ask_nothing_where_the_file_system_has_no_use_for_it) {
  Served served(without_opens());
  write_text(served.at() / "file", "content");
  const auto releases = served.control->releases.load();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(read_text_of(served.at() / "file"), "content");
  }
  EXPECT_EQ(served.control->opens.load(), 0u);
  EXPECT_EQ(served.control->releases.load(), releases);
  EXPECT_LE(served.control->reads.load(), 1u) << "what was read stays in the kernel's cache";
  must(served.server->stop());
}

TEST_F(Session, an_unlinked_file_lives_without_having_been_opened_by_the_server) {
  Served served(without_opens());
  {
    const Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT | O_EXCL, 0444);
    fs::remove(served.at() / "file");
    ASSERT_EQ(::write(file.get(), "kept", 4), 4);
    struct stat status {};
    ASSERT_EQ(::fstat(file.get(), &status), 0);
    EXPECT_EQ(status.st_nlink, 0u);
    EXPECT_EQ(status.st_mode & 07777, 0444u);
    char text[5] = {};
    EXPECT_EQ(::pread(file.get(), text, 4, 0), 4);
    EXPECT_STREQ(text, "kept");
  }
  must(served.server->stop());
}

TEST_F(Session, synchronous_writes_are_synchronous_without_opening) {
  Served served(without_opens());
  const auto syncs_of_a_write = [&](int flags) {
    const auto before = served.control->syncs.load();
    const Fd file = must_open(served.at() / "file", O_WRONLY | O_CREAT | flags);
    EXPECT_EQ(::write(file.get(), "a", 1), 1);
    return served.control->syncs.load() - before;
  };
  EXPECT_EQ(syncs_of_a_write(0), 0u);
  EXPECT_GE(syncs_of_a_write(O_DSYNC), 1u);
  EXPECT_GE(syncs_of_a_write(O_SYNC), 1u);
  must(served.server->stop());
}

TEST_F(Session, input_and_output_are_the_same_directly) {
  Served served;
  served.control->direct = true;
  check_io(served);
  EXPECT_GT(served.control->reads.load(), 0u);
  must(served.server->stop());
}

void check_shared_map(Served& served) {
  write_text(served.at() / "file", std::string(16384, 'a'));
  const Fd file = must_open(served.at() / "file", O_RDWR);
  auto* map = static_cast<char*>(::mmap(nullptr, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  map[5000] = 'M';
  char byte = 0;
  ASSERT_EQ(::pread(file.get(), &byte, 1, 5000), 1);
  EXPECT_EQ(byte, 'M') << "a mapped write is read";
  ASSERT_EQ(::pwrite(file.get(), "W", 1, 9000), 1);
  EXPECT_EQ(map[9000], 'W') << "a write is seen in the map";
  ASSERT_EQ(::msync(map, 16384, MS_SYNC), 0);
  EXPECT_EQ(read_text_of(served.below() / "file")[5000], 'M');
  ::munmap(map, 16384);
}

TEST_F(Session, a_shared_writable_map_agrees_with_reads_and_writes) {
  for (const bool passthrough : {true, false}) {
    fuse::ServerOptions options;
    options.session.passthrough = passthrough;
    Served served(options);
    check_shared_map(served);
  }
}

TEST_F(Session, mapped_writes_are_seen_in_the_modification_time) {
  Served served;
  write_text(served.at() / "file", std::string(4096, 'a'));
  const std::array<timespec, 2> old = {timespec{1000, 0}, timespec{1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (served.at() / "file").c_str(), old.data(), 0), 0);
  EXPECT_EQ(stat_of(served.at() / "file").st_mtim.tv_sec, 1000);
  {
    const Fd file = must_open(served.at() / "file", O_RDWR);
    auto* map = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(map, MAP_FAILED);
    EXPECT_EQ(stat_of(served.at() / "file").st_mtim.tv_sec, 1000);
    map[0] = 'b';
    ::msync(map, 4096, MS_SYNC);
    EXPECT_NE(stat_of(served.at() / "file").st_mtim.tv_sec, 1000);
    ::munmap(map, 4096);
  }
  EXPECT_NE(stat_of(served.at() / "file").st_mtim.tv_sec, 1000);
}

TEST_F(Session, direct_input_and_output_reach_the_file) {
  for (const bool passthrough : {true, false}) {
    fuse::ServerOptions options;
    options.session.passthrough = passthrough;
    Served served(options);
    const Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT | O_DIRECT);
    auto* buffer = static_cast<char*>(std::aligned_alloc(4096, 65536));
    std::memset(buffer, 'd', 65536);
    EXPECT_EQ(::pwrite(file.get(), buffer, 65536, 0), 65536);
    std::memset(buffer, 0, 65536);
    EXPECT_EQ(::pread(file.get(), buffer, 65536, 0), 65536);
    EXPECT_EQ(buffer[65535], 'd');
    std::free(buffer);
    EXPECT_EQ(fs::file_size(served.below() / "file"), 65536u);
  }
}

TEST_F(Session, locks_are_kept_between_processes) {
  Served served;
  const Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT);
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_len = 10;
  ASSERT_EQ(::fcntl(file.get(), F_SETLK, &lock), 0);
  const auto path = served.at() / "file";
  EXPECT_EQ(as_user(0, [&] {
              const Fd other(::open(path.c_str(), O_RDWR));
              struct flock wanted {};
              wanted.l_type = F_WRLCK;
              wanted.l_len = 1;
              const bool flocked = ::flock(other.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
              return flocked && ::fcntl(other.get(), F_SETLK, &wanted) != 0 ? 7 : 1;
            }),
            7);
}

TEST_F(Session, an_unlinked_file_lives_while_it_is_open) {
  Served served;
  const Fd file = must_open(served.at() / "file", O_RDWR | O_CREAT);
  ASSERT_EQ(::write(file.get(), "alive", 5), 5);
  fs::remove(served.at() / "file");
  EXPECT_FALSE(fs::exists(served.at() / "file"));
  char text[5] = {};
  EXPECT_EQ(::pread(file.get(), text, 5, 0), 5);
  struct stat status {};
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0u);
  EXPECT_EQ(::ftruncate(file.get(), 2), 0);
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_size, 2);
  write_text(served.at() / "file", "another");
  EXPECT_EQ(::pread(file.get(), text, 5, 0), 2);
}

TEST_F(Session, entries_that_stay_are_listed_once_while_others_come_and_go) {
  Served served;
  std::set<std::string> staying;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "stay-" + std::to_string(i);
    write_text(served.below() / name, "");
    staying.insert(name);
  }
  DIR* directory = ::opendir(served.at().c_str());
  ASSERT_NE(directory, nullptr);
  std::multiset<std::string> seen;
  int step = 0;
  while (const dirent* each = ::readdir(directory)) {
    if (std::string(each->d_name).starts_with("stay-")) {
      seen.insert(each->d_name);
    }
    if (++step % 50 == 0) {
      write_text(served.at() / ("new-" + std::to_string(step)), "");
      fs::remove(served.at() / ("new-" + std::to_string(step - 50)));
    }
  }
  ::closedir(directory);
  EXPECT_EQ(seen.size(), staying.size());
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), staying);
}

TEST_F(Session, permissions_and_access_lists_are_the_callers) {
  Served served;
  fs::permissions(served.folder.path(), fs::perms(0755));
  write_text(served.at() / "secret", "root's");
  ASSERT_EQ(::chmod((served.at() / "secret").c_str(), 0640), 0);
  const auto reads = [&](const char* name) {
    return as_user(1234, [&] { return ::open((served.at() / name).c_str(), O_RDONLY) >= 0 ? 0 : errno; });
  };
  EXPECT_EQ(reads("secret"), EACCES);
  // version 2; user::rw-, user:1234:r--, group::---, mask::r--, other::---
  const unsigned char list[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0,
                                4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};
  ASSERT_EQ(::setxattr((served.at() / "secret").c_str(), "system.posix_acl_access", list, sizeof(list), 0), 0)
      << std::strerror(errno);
  EXPECT_EQ(reads("secret"), 0);
  ASSERT_EQ(::chmod(served.at().c_str(), 0777), 0);
  EXPECT_EQ(as_user(1234, [&] {
              ::umask(027);
              return ::mkdir((served.at() / "mine").c_str(), 0777) == 0 ? 0 : errno;
            }),
            0);
  EXPECT_EQ(stat_of(served.below() / "mine").st_uid, 1234u);
  EXPECT_EQ(stat_of(served.below() / "mine").st_mode & 07777, 0750u);
}

TEST_F(Session, a_write_by_another_user_takes_set_id_bits_away) {
  Served served;
  fs::permissions(served.folder.path(), fs::perms(0755));
  for (const bool create : {false, true}) {
    const auto path = served.at() / (create ? "created" : "opened");
    if (!create) {
      write_text(path, "program");
      ASSERT_EQ(::chmod(path.c_str(), 06777), 0);
      EXPECT_EQ(stat_of(path).st_mode & 07777, 06777u);
    }
    ASSERT_EQ(::chmod(served.at().c_str(), 0777), 0);
    EXPECT_EQ(as_user(1234, [&] {
                ::umask(0);
                const int fd = ::open(path.c_str(), O_WRONLY | (create ? O_CREAT : 0), 06777);
                return fd >= 0 && ::write(fd, "changed", 7) == 7 ? 0 : errno;
              }),
              0);
    EXPECT_EQ(stat_of(path).st_mode & 07777, 0777u) << path;
  }
}

TEST_F(Session, attributes_take_all_sizes) {
  Served served;
  write_text(served.at() / "file", "");
  const auto path = served.at() / "file";
  const std::string value(3000, 'v');
  ASSERT_EQ(::setxattr(path.c_str(), "user.long", value.data(), value.size(), 0), 0);
  EXPECT_EQ(::getxattr(path.c_str(), "user.long", nullptr, 0), 3000);
  char small[10];
  EXPECT_EQ(::getxattr(path.c_str(), "user.long", small, sizeof(small)), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(::setxattr(path.c_str(), "user.long", "x", 1, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  char names[100];
  EXPECT_EQ(::listxattr(path.c_str(), names, sizeof(names)), 10);
  ASSERT_EQ(::removexattr(path.c_str(), "user.long"), 0);
  EXPECT_EQ(::getxattr(path.c_str(), "user.long", nullptr, 0), -1);
  EXPECT_EQ(errno, ENODATA);
  struct statvfs status {};
  ASSERT_EQ(::statvfs(served.at().c_str(), &status), 0);
  EXPECT_GT(status.f_blocks, 0u);
}

TEST_F(Session, an_open_whose_backing_changed_gets_a_node_of_its_own) {
  Served served;
  write_text(served.at() / "file", "content");
  const Fd reader = must_open(served.at() / "file", O_RDONLY);
  const auto inode = stat_of(served.at() / "file").st_ino;
  served.control->key_offset = 1000;  // as if it had been copied up
  const Fd writer = must_open(served.at() / "file", O_RDWR);
  ASSERT_EQ(::pwrite(writer.get(), "CON", 3, 0), 3);
  EXPECT_EQ(read_text_of(served.at() / "file"), "CONtent");
  EXPECT_EQ(stat_of(served.at() / "file").st_ino, inode);
  char text[7] = {};
  EXPECT_EQ(::pread(reader.get(), text, 7, 0), 7) << "the old one still reads";
  EXPECT_EQ(served.control->reads.load() + served.control->writes.load(), 0u);
  struct stat status {};
  ASSERT_EQ(::ftruncate(writer.get(), 3), 0);
  ASSERT_EQ(::fstat(writer.get(), &status), 0);
  EXPECT_EQ(status.st_size, 3);
  EXPECT_EQ(stat_of(served.at() / "file").st_size, 3);
}

TEST_F(Session, opens_with_and_without_backing_mix_in_any_order) {
  Served served;
  write_text(served.at() / "file", "0123456789");
  std::vector<Fd> open;
  for (const bool backing : {false, true, true, false, true, false}) {
    served.control->backing = backing;
    open.push_back(must_open(served.at() / "file", O_RDWR));
    const char digit = static_cast<char>('a' + open.size());
    ASSERT_EQ(::pwrite(open.back().get(), &digit, 1, static_cast<off_t>(open.size())), 1);
    char back = 0;
    ASSERT_EQ(::pread(open.back().get(), &back, 1, static_cast<off_t>(open.size())), 1);
    EXPECT_EQ(back, digit);
  }
  EXPECT_EQ(read_text_of(served.below() / "file"), "0bcdefg789");
}

TEST_F(Session, many_openers_at_once_all_get_their_data) {
  Served served;
  for (int i = 0; i < 8; ++i) {
    write_text(served.at() / std::to_string(i), std::string(1000, static_cast<char>('a' + i)));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 400; ++i) {
        if (t == 0 && i % 100 == 50) {
          ++served.control->key_offset;
        }
        const int which = (i + t) % 8;
        if (read_text_of(served.at() / std::to_string(which)) != std::string(1000, static_cast<char>('a' + which))) {
          ++wrong;
        }
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
  must(served.server->stop());
}

TEST_F(Session, a_walk_over_many_names_leaves_few_nodes) {
  for (const bool by_name : {false, true}) {
    fuse::ServerOptions options;
    options.session.nodes_max = 500;
    options.session.named_prune = by_name;
    Served served(options);
    for (int i = 0; i < 6000; ++i) {
      write_text(served.below() / std::to_string(i), "");
    }
    Fd kept = must_open(served.at() / "17", O_RDONLY);
    for (int i = 0; i < 6000; ++i) {
      stat_of(served.at() / std::to_string(i));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LT(served.control->nodes.load(), 700u) << (by_name ? "by name" : "by prune");
    EXPECT_LT(served.control->nodes_peak.load(), 5000u);
    char byte = 0;
    EXPECT_EQ(::read(kept.get(), &byte, 1), 0);
    EXPECT_TRUE(fs::exists(served.at() / "17"));
    kept.reset();
    must(served.server->stop());
  }
}

}  // namespace
}  // namespace sbench::test
