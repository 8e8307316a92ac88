// What holds over time: crashes, remounts, threads, changing directories, many names.
#include <linux/fs.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "drivers/base/fd.h"
#include "drivers/base/rng.h"
#include "drivers/layer/whiteout.h"
#include "drivers/union_fs/engine.h"
#include "tests/union_fs/union_test.h"

namespace sbench::testing {
namespace {

using Names = std::set<std::string>;

class UnionLife : public BothDialects {};

INSTANTIATE_TEST_SUITE_P(Dialects, UnionLife, ::testing::Values(UnionDialect::aufs, UnionDialect::overlay),
                         dialect_name);

std::string pattern(std::size_t number, std::size_t size) {
  std::string data(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    data[i] = static_cast<char>('a' + (i * 7 + number) % 26);
  }
  return data;
}

TEST_P(UnionLife, killed_in_the_middle_of_copy_ups_nothing_half_done_shows) {
  const std::uint64_t seed = 4711;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Rng rng(seed);
  constexpr std::size_t kFiles = 24;
  constexpr std::size_t kSize = 300000;
  for (int round = 0; round < 12; ++round) {
    UnionFolder folder(1);
    for (std::size_t i = 0; i < kFiles; ++i) {
      put_file(folder.lower(1) / fmt::format("d{}/e/f{}", i % 3, i), pattern(i, kSize));
    }
    ASSERT_EQ(::link((folder.lower(1) / "d0/e/f0").c_str(), (folder.lower(1) / "d1/hard").c_str()), 0);
    const UnionOptions options = folder.options(GetParam());
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto opened = open_union(options);
      if (!opened.ok()) {
        ::_exit(1);
      }
      std::vector<std::thread> workers;
      for (std::size_t part = 0; part < 2; ++part) {
        workers.emplace_back([&, part] {
          PathCalls calls(**opened);
          for (std::size_t i = part; i < kFiles; i += 2) {
            const std::string path = fmt::format("d{}/e/f{}", i % 3, i);
            calls.write(path, "", 0, 0);  // opens for writing: copies up
            if (i % 5 == 0) {
              calls.unlink(path);
            } else if (i % 5 == 1) {
              calls.rename(path, fmt::format("d{}/moved{}", i % 3, i));
            }
          }
        });
      }
      for (auto& worker : workers) {
        worker.join();
      }
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(rng.below(16000)));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    PathCalls calls(folder.open(options));
    for (std::size_t i = 0; i < kFiles; ++i) {
      const std::string path = fmt::format("d{}/e/f{}", i % 3, i);
      const std::string moved = fmt::format("d{}/moved{}", i % 3, i);
      const bool here = calls.exists(path);
      const bool there = calls.exists(moved);
      EXPECT_FALSE(here && there) << path;
      EXPECT_TRUE(here || there || i % 5 == 0) << path;
      if (here || there) {
        EXPECT_TRUE(calls.content(here ? path : moved) == pattern(i, kSize)) << path << " round " << round;
      }
    }
    EXPECT_EQ(calls.content("d1/hard"), pattern(0, kSize));
    const auto area = GetParam() == UnionDialect::aufs ? folder.upper() / ".wh..wh.orph" : folder.path("work") / "work";
    EXPECT_TRUE(std::filesystem::is_empty(area));
  }
}

TEST_P(UnionLife, one_copy_up_under_many_openers) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "d/f", pattern(1, 4 << 20));
  FileSystem& fs = folder.open(folder.options(GetParam()));
  std::atomic<int> failed{0};
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < 8; ++i) {
    workers.emplace_back([&, i] {
      PathCalls calls(fs);
      if (calls.write("d/f", std::string(1, static_cast<char>('A' + i)), i * 100, 0) != 0) {
        failed += 1;
      }
    });
  }
  for (auto& worker : workers) {
    worker.join();
  }
  EXPECT_EQ(failed, 0);
  std::string expected = pattern(1, 4 << 20);
  for (std::size_t i = 0; i < 8; ++i) {
    expected[i * 100] = static_cast<char>('A' + i);
  }
  EXPECT_TRUE(PathCalls(fs).content("d/f") == expected);
}

// No order of such operations is wrong, but what they leave must be whole: the next mount shows the same.
TEST_P(UnionLife, threads_on_the_same_names_leave_what_the_next_mount_shows) {
  const std::uint64_t seed = 99;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  UnionFolder folder;
  for (const char* path : {"a/a", "a/b", "b/a", "b/b/c", "c"}) {
    put_file(folder.lower(1) / path, path);
    put_file(folder.lower(2) / path, std::string("lower ") + path);
  }
  ASSERT_EQ(::link((folder.lower(1) / "c").c_str(), (folder.lower(1) / "b/hard").c_str()), 0);
  UnionOptions options = folder.options(GetParam());
  options.redirect_dir = GetParam() == UnionDialect::overlay;
  options.cached_fds = 8;
  options.directory_cache_bytes = 2000;
  FileSystem& fs = folder.open(options);
  std::vector<std::thread> workers;
  for (int worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&, worker] {
      PathCalls calls(fs);
      Rng rng(seed, std::to_string(worker));
      const auto path = [&] {
        std::string at;
        for (std::uint64_t depth = 1 + rng.below(3); depth > 0; --depth) {
          at += (at.empty() ? "" : "/") + std::string(1, static_cast<char>('a' + rng.below(3)));
        }
        return rng.below(10) == 0 ? "b/hard" : at;
      };
      std::vector<std::string> names;
      std::string data;
      struct stat status {};
      for (int i = 0; i < 400; ++i) {
        const std::string one = path();
        const std::string two = path();
        switch (rng.below(9)) {
          case 0:
            calls.mkdir(one);
            break;
          case 1:
            if (calls.stat(one, status) != 0 || S_ISREG(status.st_mode)) {
              calls.write(one, two, 0, O_CREAT);
            }
            break;
          case 2:
            calls.unlink(one);
            break;
          case 3:
            calls.rmdir(one);
            break;
          case 4:
          case 5:
            calls.rename(one, two, rng.below(2) == 0 ? RENAME_EXCHANGE : 0);
            break;
          case 6:
            calls.link(one, two);
            break;
          case 7:
            calls.list(one, names);
            break;
          default:
            calls.read(one, data);
            calls.chmod(one, 0640);
        }
      }
    });
  }
  for (auto& worker : workers) {
    worker.join();
  }
  const auto before = describe(fs);
  expect_same(before, describe(folder.open(options)), "after a remount");
}

TEST_P(UnionLife, holes_stay_holes) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "f", "begin");
  {
    const Fd fd(::open((folder.lower(1) / "f").c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), "end", 3, 64 << 20), 3);
  }
  FileSystem& fs = folder.open(folder.options(GetParam()));
  PathCalls calls(fs);
  ASSERT_EQ(calls.write("f", "B", 0, 0), 0);
  struct stat status {};
  ASSERT_EQ(calls.stat("f", status), 0);
  EXPECT_EQ(status.st_size, (64 << 20) + 3);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("f", node), 0);
  auto file = fs.open(node.node(), O_RDWR);
  ASSERT_TRUE(file.ok());
  const HandleId handle = file.value().handle;
  EXPECT_EQ(fs.seek(node.node(), handle, 1 << 20, SEEK_DATA).value(), static_cast<std::uint64_t>(64 << 20));
  EXPECT_EQ(PathCalls::code_of(fs.allocate(node.node(), handle, 0, 1 << 20, 1 << 20)), 0);
  EXPECT_EQ(PathCalls::code_of(fs.allocate(node.node(), handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)), 0);
  EXPECT_EQ(fs.copy_range(handle, 64 << 20, handle, 1 << 20, 3).value(), 3u);
  std::string data(3, '\0');
  ASSERT_TRUE(fs.read(node.node(), handle, std::as_writable_bytes(std::span(data)), 1 << 20).ok());
  EXPECT_EQ(data, "end");
  fs.release(node.node(), handle);
}

TEST_P(UnionLife, names_of_a_hard_linked_lower_file_stay_one_file) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "a", "old");
  std::filesystem::create_directories(folder.lower(1) / "d");
  ASSERT_EQ(::link((folder.lower(1) / "a").c_str(), (folder.lower(1) / "d/b").c_str()), 0);
  ASSERT_EQ(::link((folder.lower(1) / "a").c_str(), (folder.lower(1) / "d/c").c_str()), 0);
  const UnionOptions options = folder.options(GetParam());
  PathCalls calls(folder.open(options));
  ASSERT_EQ(calls.write("a", "new", 0, 0), 0);
  EXPECT_EQ(calls.content("d/b"), "new");
  ASSERT_EQ(calls.write("d/b", "NEW", 0, 0), 0);
  EXPECT_EQ(calls.content("a"), "NEW");
  struct stat one {};
  struct stat two {};
  ASSERT_EQ(calls.stat("a", one), 0);
  ASSERT_EQ(calls.stat("d/c", two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_nlink, 3u);
  ASSERT_EQ(calls.unlink("d/c"), 0);
  ASSERT_EQ(calls.stat("a", one), 0);
  EXPECT_EQ(one.st_nlink, 2u);
  ASSERT_EQ(calls.rename("d/b", "b"), 0);
  EXPECT_EQ(calls.content("b"), "NEW");
  PathCalls again(folder.open(options));
  EXPECT_EQ(again.content("b"), "NEW");
  EXPECT_EQ(again.names("d"), Names{});
  ASSERT_EQ(again.stat("a", two), 0);
  EXPECT_EQ(two.st_nlink, 2u);
  EXPECT_EQ(one.st_ino, two.st_ino);
  ASSERT_EQ(again.unlink("a"), 0);
  ASSERT_EQ(again.unlink("b"), 0);
  EXPECT_EQ(again.names(""), Names{"d"});
}

TEST(OverlayMetacopy, hard_linked_files_keep_their_data_below) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "a", pattern(1, 50000));
  std::filesystem::create_directories(folder.lower(1) / "d");
  ASSERT_EQ(::link((folder.lower(1) / "a").c_str(), (folder.lower(1) / "d/b").c_str()), 0);
  UnionOptions options = folder.options(UnionDialect::overlay);
  options.redirect_dir = options.metacopy = true;
  {
    PathCalls calls(folder.open(options));
    ASSERT_EQ(calls.chmod("a", 0600), 0);
    struct stat status {};
    ASSERT_EQ(::stat((folder.upper() / "a").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 50000);  // no data
    for (const char* path : {"a", "d/b"}) {
      EXPECT_TRUE(calls.content(path) == pattern(1, 50000)) << path;
      ASSERT_EQ(calls.stat(path, status), 0);
      EXPECT_EQ(status.st_mode & 0777, 0600u);
    }
    ASSERT_EQ(calls.rename("d/b", "c"), 0);
  }
  PathCalls calls(folder.open(options));
  EXPECT_TRUE(calls.content("c") == pattern(1, 50000));
  ASSERT_EQ(calls.write("c", "X", 0, 0), 0);
  EXPECT_TRUE(calls.content("a") == "X" + pattern(1, 50000).substr(1));
}

TEST_P(UnionLife, inode_numbers_survive_copy_up_and_remount) {
  UnionFolder folder;
  put_file(folder.lower(1) / "d/f", "1");
  put_file(folder.lower(2) / "d/g", "2");
  const UnionOptions options = folder.options(GetParam());
  std::map<std::string, ino_t> before;
  const std::vector<std::string> paths{"d", "d/f", "d/g", "new"};
  {
    PathCalls calls(folder.open(options));
    ASSERT_EQ(calls.write("new", "x"), 0);
    struct stat status {};
    for (const auto& path : paths) {
      ASSERT_EQ(calls.stat(path, status), 0);
      before[path] = status.st_ino;
    }
    ASSERT_EQ(calls.chmod("d/f", 0600), 0);
    ASSERT_EQ(calls.rename("d/g", "d/h"), 0);
    ASSERT_EQ(calls.stat("d/h", status), 0);
    EXPECT_EQ(status.st_ino, before["d/g"]);
    ASSERT_EQ(calls.rename("d/h", "d/g"), 0);
  }
  FileSystem& fs = folder.open(options);
  PathCalls calls(fs);
  struct stat status {};
  for (const auto& path : paths) {
    ASSERT_EQ(calls.stat(path, status), 0);
    EXPECT_EQ(status.st_ino, before[path]) << path;
  }
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("d", node), 0);
  auto handle = fs.open_directory(node.node());
  ASSERT_TRUE(handle.ok());
  ASSERT_TRUE(fs.read_directory(node.node(), *handle, 0, [&](const DirectoryEntry& entry) {
                  const std::string path = "d/" + std::string(entry.name);
                  if (before.contains(path)) {
                    EXPECT_EQ(entry.inode, before[path]) << path;
                  }
                  return true;
                }).ok());
  fs.release_directory(node.node(), *handle);
}

TEST_P(UnionLife, reading_a_directory_goes_on_where_it_was_while_names_change) {
  for (const bool merged : {true, false}) {
    UnionFolder folder;
    const int files = 600;
    for (int i = 0; i < files; ++i) {
      put_file((merged && i % 2 == 0 ? folder.lower(2) : folder.upper()) / fmt::format("d/keep{}", i), "");
      put_file((merged && i % 2 == 0 ? folder.lower(1) : folder.upper()) / fmt::format("d/drop{}", i), "");
    }
    FileSystem& fs = folder.open(folder.options(GetParam()));
    PathCalls calls(fs);
    PathCalls::Held node;
    ASSERT_EQ(calls.walk("d", node), 0);
    auto handle = fs.open_directory(node.node());
    ASSERT_TRUE(handle.ok());
    std::uint64_t cookie = 0;
    std::map<std::string, int> seen;
    for (int turn = 0;; ++turn) {
      int taken = 0;
      ASSERT_TRUE(fs.read_directory(node.node(), *handle, cookie, [&](const DirectoryEntry& entry) {
                      if (taken == 37) {
                        return false;
                      }
                      taken += 1;
                      cookie = entry.cookie;
                      seen[std::string(entry.name)] += 1;
                      return true;
                    }).ok());
      if (taken == 0) {
        break;
      }
      if (turn >= 25) {
        continue;  // new names go to the end: making them forever would never end
      }
      ASSERT_EQ(calls.unlink(fmt::format("d/drop{}", turn)), 0);
      ASSERT_EQ(calls.write(fmt::format("d/new{}", turn), "x"), 0);
      ASSERT_EQ(calls.rename(fmt::format("d/drop{}", files - 1 - turn), fmt::format("d/renamed{}", turn)), 0);
    }
    fs.release_directory(node.node(), *handle);
    for (int i = 0; i < files; ++i) {
      EXPECT_EQ(seen[fmt::format("keep{}", i)], 1) << i;
    }
    EXPECT_EQ(seen["."], 1);
    EXPECT_EQ(seen[".."], 1);
  }
}

TEST_P(UnionLife, default_acls_and_attributes_pass_through) {
  UnionFolder folder(1);
  std::filesystem::create_directories(folder.lower(1) / "d");
  put_file(folder.lower(1) / "d/gone", "");
  FileSystem& fs = folder.open(folder.options(GetParam()));
  // user::rwx, user:1000:rwx, group::---, mask::rwx, other::---
  const std::string acl("\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\0\0\xff\xff\xff\xff"
                        "\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
                        44);
  PathCalls calls(fs, Caller{1, 2, 3, 077});
  ASSERT_EQ(calls.set_xattr("d", "system.posix_acl_default", acl), 0);
  ASSERT_EQ(calls.write("d/f", "x", 0, O_CREAT, 0666), 0);
  ASSERT_EQ(calls.unlink("d/gone"), 0);
  ASSERT_EQ(calls.write("d/gone", "x", 0, O_CREAT, 0666), 0);  // over a whiteout
  for (const char* path : {"d/f", "d/gone"}) {
    struct stat status {};
    ASSERT_EQ(calls.stat(path, status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0660u) << path;
    EXPECT_EQ(status.st_uid, 1u);
    PathCalls::Held node;
    ASSERT_EQ(calls.walk(path, node), 0);
    EXPECT_TRUE(fs.xattr(node.node(), "system.posix_acl_access").ok()) << path;
  }
  EXPECT_EQ(calls.set_xattr("d/f", "user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(calls.set_xattr("d/f", "user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(calls.set_xattr("d/f", "user.a", "1", XATTR_CREATE), EEXIST);
}

TEST_P(UnionLife, a_removed_directory_is_empty_and_stays_so) {
  UnionFolder folder(1);
  std::filesystem::create_directories(folder.lower(1) / "d");
  FileSystem& fs = folder.open(folder.options(GetParam()));
  PathCalls calls(fs);
  PathCalls::Held node;
  ASSERT_EQ(calls.walk("d", node), 0);
  ASSERT_EQ(calls.rmdir("d"), 0);
  EXPECT_EQ(fs.make_directory({}, node.node(), "x", 0755).error().code, ENOENT);
  auto attributes = fs.attributes(node.node(), 0);
  ASSERT_TRUE(attributes.ok());
  EXPECT_EQ(attributes.value().st_nlink, 0u);
  ASSERT_EQ(calls.mkdir("d"), 0);
  ASSERT_EQ(calls.write("d/f", "x"), 0);
  EXPECT_EQ(fs.lookup(node.node(), "f").error().code, ENOENT);
  auto handle = fs.open_directory(node.node());
  ASSERT_TRUE(handle.ok());
  int count = 0;
  EXPECT_TRUE(fs.read_directory(node.node(), *handle, 0, [&](const DirectoryEntry&) { return ++count > 0; }).ok());
  EXPECT_EQ(count, 2);
  fs.release_directory(node.node(), *handle);
}

TEST(UnionOptions, contradictions_and_a_second_user_are_refused) {
  UnionFolder folder(1);
  UnionOptions options = folder.options(UnionDialect::overlay);
  FileSystem& fs = folder.open(options);
  static_cast<void>(fs);
  EXPECT_EQ(open_union(options).error().code, EBUSY);
  options.userxattr = options.redirect_dir = true;
  EXPECT_EQ(open_union(options).error().code, EINVAL);
  options = folder.options(UnionDialect::aufs);
  options.metacopy = true;
  EXPECT_EQ(open_union(options).error().code, EINVAL);
  options = folder.options(UnionDialect::overlay);
  options.work.reset();
  EXPECT_EQ(open_union(options).error().code, EINVAL);
  options.lower = {"/nowhere"};
  EXPECT_EQ(open_union(options).error().code, ENOENT);
}

std::size_t resident_bytes() {
  std::size_t pages = 0;
  std::size_t resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%zu %zu", &pages, &resident) != 2) {
    resident = 0;
  }
  if (file != nullptr) {
    std::fclose(file);
  }
  return resident * 4096;
}

// SBENCH_UNION_NAMES=1000000 for the long form.
TEST_P(UnionLife, memory_after_walking_many_names_is_bounded) {
  const char* text = std::getenv("SBENCH_UNION_NAMES");
  const int names = text == nullptr ? 20000 : std::atoi(text);
  constexpr int kInDirectory = 1000;
  UnionFolder folder;
  for (int i = 0; i < names; i += kInDirectory) {
    const auto directory = folder.lower(1) / fmt::format("d{}", i / kInDirectory);
    std::filesystem::create_directories(directory);
    std::filesystem::create_directories(folder.lower(2) / fmt::format("d{}", i / kInDirectory));
    const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(::mknodat(fd.get(), "f0", S_IFREG | 0644, 0), 0);
    for (int j = 1; j < kInDirectory; ++j) {
      ASSERT_EQ(::linkat(fd.get(), "f0", fd.get(), fmt::format("f{}", j).c_str(), 0), 0);
    }
  }
  UnionOptions options = folder.options(GetParam());
  options.directory_cache_bytes = 1 << 20;
  auto& fs = dynamic_cast<union_fs::UnionFs&>(folder.open(options));
  const std::size_t before = resident_bytes();
  PathCalls calls(fs);
  int walked = 0;
  for (const auto& directory : calls.names("")) {
    PathCalls::Held held;
    ASSERT_EQ(calls.walk(directory, held), 0);
    for (const auto& name : calls.names(directory)) {
      auto entry = fs.lookup(held.node(), name);
      ASSERT_TRUE(entry.ok());
      fs.forget(entry->node, 1);
      walked += 1;
    }
  }
  EXPECT_EQ(walked, names);
  EXPECT_EQ(fs.nodes(), 1u);  // the root: everything else was given back
  EXPECT_LE(fs.cached_bytes(), options.directory_cache_bytes);
  EXPECT_LT(resident_bytes() - std::min(before, resident_bytes()), std::size_t{16} << 20);
}

}  // namespace
}  // namespace sbench::testing
