#include "tests/cow_fs/pool_test.h"

#include "drivers/base/hash.h"

namespace sbench::cow_fs {

namespace {

void describe_below(Files& files, const std::string& path, std::map<std::string, std::string>& into) {
  const NodeId node = must(files.find(path));
  const auto status = must(files.raw().attributes(node, 0));
  std::string line = fmt::format("mode {:o} owner {}:{} links {} device {} mtime {}.{}", status.st_mode, status.st_uid, status.st_gid,
                                 status.st_nlink, status.st_rdev, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  if (S_ISREG(status.st_mode)) {
    const std::string text = must(files.read(path));
    line += fmt::format(" size {} content {:x}", status.st_size, xxh3(bytes_of(text)));
  } else if (S_ISLNK(status.st_mode)) {
    line += " to " + must(files.raw().read_link(node));
  }
  const std::string names = must(files.raw().xattr_names(node));
  std::map<std::string, std::string> xattrs;
  for (std::size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    xattrs[names.c_str() + at] = must(files.raw().xattr(node, names.c_str() + at));
  }
  for (const auto& [name, value] : xattrs) {
    line += fmt::format(" {}={:x}", name, xxh3(bytes_of(value)));
  }
  into[path] = line;
  if (S_ISDIR(status.st_mode)) {
    for (const auto& [name, type] : must(files.list(path))) {
      describe_below(files, path.empty() ? name : path + "/" + name, into);
    }
  }
}

}  // namespace

std::map<std::string, std::string> describe_tree(Files files) {
  std::map<std::string, std::string> lines;
  describe_below(files, "", lines);
  return lines;
}

namespace {

using testing::IsEmpty;

TEST(CowPool, what_was_written_is_there_after_a_reopen) {
  TestPool pool;
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  must(files.make("dir", S_IFDIR | 0755));
  const std::string small = noise(3000, 1);
  const std::string large = noise(700'000, 2);
  must(files.write("dir/small", 0, small));
  must(files.write("large", 0, large));
  must(files.symlink("dir/short", "target"));
  must(files.symlink("long", std::string(2000, 'x')));
  must(files.make("fifo", S_IFIFO | 0600));
  must(files.make("device", S_IFCHR | 0600, makedev(1, 3)));
  must(files.link("dir/small", "twin"));
  must(files.set_xattr("large", "user.a", "value"));
  must(files.set_xattr("large", "user.long", std::string(5000, 'v')));
  const auto before = describe_tree(pool.files("a"));
  ASSERT_THAT(pool.findings(), IsEmpty());
  pool.reopen();
  EXPECT_EQ(describe_tree(pool.files("a")), before);
  EXPECT_EQ(must(pool.files("a").read("dir/small")), small);
  EXPECT_EQ(must(pool.files("a").read("large")), large);
  EXPECT_EQ(must(pool.files("a").raw().attributes(must(pool.files("a").find("twin")), 0)).st_nlink, 2U);
}

TEST(CowPool, clone_shares_with_its_snapshot_and_changes_alone) {
  TestPool pool;
  must(pool.pool->create("base", {}));
  const std::string text = noise(1'000'000, 3);
  must(pool.files("base").write("file", 0, text));
  must(pool.pool->snapshot("base", "base@1"));
  must(pool.pool->clone("base@1", "clone"));
  EXPECT_EQ(must(pool.pool->info("clone")).record.own_bytes, 0U);
  must(pool.files("clone").write("file", 500'000, "changed"));
  must(pool.files("base").write("file", 0, "base"));
  must(pool.pool->sync());
  EXPECT_EQ(must(pool.files("base@1").read("file")), text);
  EXPECT_EQ(must(pool.files("clone").read("file")).substr(499'990, 30), text.substr(499'990, 10) + "changed" + text.substr(500'007, 13));
  EXPECT_EQ(must(pool.files("base").read("file")).substr(0, 4), "base");
  EXPECT_EQ(code_of(pool.files("base@1").write("file", 0, "x")), EROFS);
  const auto own = must(pool.pool->info("clone")).record.own_bytes;
  EXPECT_GE(own, 128 * kKiB);
  EXPECT_LE(own, 200 * kKiB);
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowPool, destroying_everything_gives_all_space_back) {
  TestPool pool;
  const std::uint64_t before = pool.pool->statistics().used_bytes;
  must(pool.pool->create("a", {}));
  for (int round = 0; round < 3; ++round) {
    must(pool.files("a").write("f" + std::to_string(round), 0, noise(600'000, 10 + round)));
    must(pool.files("a").write("f0", 100'000 * round, noise(200'000, 20 + round)));
    must(pool.pool->snapshot("a", "a@" + std::to_string(round)));
  }
  must(pool.pool->clone("a@1", "b"));
  must(pool.files("b").write("f0", 0, noise(300'000, 30)));
  must(pool.pool->snapshot("b", "b@0"));
  must(pool.files("b").unlink("f1"));
  ASSERT_THAT(pool.findings(), IsEmpty());
  pool.mounted.clear();
  EXPECT_EQ(code_of(pool.pool->destroy("a")), EBUSY);
  EXPECT_EQ(code_of(pool.pool->destroy("a@1")), EBUSY);
  must(pool.pool->destroy("a@1", true));  // goes with its clone
  must(pool.pool->destroy("a@0"));
  ASSERT_THAT(pool.findings(), IsEmpty());
  must(pool.pool->destroy("b@0"));
  ASSERT_THAT(pool.findings(), IsEmpty());
  must(pool.pool->destroy("b"));
  EXPECT_EQ(code_of(pool.pool->info("a@1")), ENOENT);
  ASSERT_THAT(pool.findings(), IsEmpty());
  must(pool.pool->destroy("a@2"));
  must(pool.pool->destroy("a"));
  ASSERT_THAT(pool.findings(), IsEmpty());
  EXPECT_LE(pool.pool->statistics().used_bytes, before + 64 * kKiB);
  EXPECT_THAT(pool.pool->list(), IsEmpty());
}

TEST(CowPool, many_clones_of_a_changing_dataset_go_in_any_order) {
  constexpr int kClones = 40;
  TestPool pool;
  const std::uint64_t before = pool.pool->statistics().used_bytes;
  must(pool.pool->create("a", {.record_bytes = 4 * kKiB}));
  must(pool.files("a").write("file", 0, noise(64 * kKiB, 1)));
  std::map<std::string, std::string> expected;
  Rng rng(test_seed(), "clones");
  const auto clone_again = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      must(pool.files("a").write("file", rng.below(15) * 4 * kKiB, noise(5000, rng.next())));
      const std::string name = fmt::format("c{}", i);
      must(pool.pool->snapshot("a", "a@" + name));
      must(pool.pool->clone("a@" + name, name));
      must(pool.pool->destroy("a@" + name, true));
      expected[name] = must(pool.files(name).read("file"));
      EXPECT_EQ(expected[name], must(pool.files("a").read("file")));
    }
  };
  const auto check = [&] {
    EXPECT_THAT(pool.findings(), IsEmpty());
    EXPECT_EQ(pool.pool->list("a@").size(), expected.size());
    for (const auto& info : pool.pool->list("a@")) {
      EXPECT_TRUE(info.record.is_snapshot != 0 && info.clones == 1) << info.name;
    }
    for (const auto& [name, text] : expected) {
      EXPECT_EQ(must(pool.files(name).read("file")), text) << name;
    }
  };
  clone_again(0, kClones / 2);
  pool.reopen();  // who follows whom is found again
  check();
  clone_again(kClones / 2, kClones);
  while (!expected.empty()) {
    const auto victim = std::next(expected.begin(), static_cast<std::ptrdiff_t>(rng.below(expected.size())));
    pool.mounted.erase(victim->first);
    must(pool.pool->destroy(victim->first));
    expected.erase(victim);
    must(pool.files("a").write("file", rng.below(15) * 4 * kKiB, noise(5000, rng.next())));
    if (expected.size() % 8 == 0) {
      pool.reopen();
      check();
    }
  }
  pool.mounted.clear();
  must(pool.pool->destroy("a"));
  EXPECT_THAT(pool.findings(), IsEmpty());
  EXPECT_LE(pool.pool->statistics().used_bytes, before + 64 * kKiB);
}

TEST(CowPool, large_directory_keeps_every_name) {
  TestPool pool(64 * kMiB);
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  constexpr int kNames = 5000;
  for (int i = 0; i < kNames; ++i) {
    must(files.make(fmt::format("name{}", i), S_IFREG | 0644));
  }
  EXPECT_EQ(must(files.list("")).size(), kNames);
  for (int i = 0; i < kNames; i += 2) {
    must(files.unlink(fmt::format("name{}", i)));
  }
  ASSERT_THAT(pool.findings(), IsEmpty());
  pool.reopen();
  Files again = pool.files("a");
  EXPECT_EQ(must(again.list("")).size(), kNames / 2);
  for (int i = 0; i < kNames; ++i) {
    ASSERT_EQ(again.find(fmt::format("name{}", i)).ok(), i % 2 == 1) << i;
  }
  for (int i = 1; i < kNames; i += 2) {
    must(again.unlink(fmt::format("name{}", i)));
  }
  EXPECT_THAT(must(again.list("")), IsEmpty());
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowPool, unlinked_open_file_lives_until_its_last_close) {
  TestPool pool;
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  const std::string text = noise(50'000, 5);
  must(files.write("f", 0, text));
  const Entry entry = must(files.raw().lookup(kRootNode, "f"));
  const OpenFile open = must(files.raw().open(entry.node, O_RDWR));
  must(files.unlink("f"));
  must(pool.pool->sync());
  std::string got(text.size(), '\0');
  ASSERT_EQ(must(files.raw().read(entry.node, open.handle, std::as_writable_bytes(std::span(got)), 0)), text.size());
  EXPECT_EQ(got, text);
  files.raw().release(entry.node, open.handle);
  EXPECT_TRUE(files.raw().attributes(entry.node, 0).ok());
  files.raw().forget(entry.node, 1);
  EXPECT_EQ(code_of(files.raw().attributes(entry.node, 0)), ENOENT);
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowPool, orphan_of_a_dead_user_goes_at_the_next_use) {
  TestPool pool;
  must(pool.pool->create("a", {}));
  {
    Files files = pool.files("a");
    must(files.write("f", 0, noise(500'000, 5)));
    must(files.raw().lookup(kRootNode, "f"));  // and never forgotten
    must(files.unlink("f"));
    must(pool.pool->sync());
  }
  const auto before = must(pool.pool->info("a")).record.own_bytes;
  pool.reopen();
  pool.files("a");
  EXPECT_THAT(pool.findings(), IsEmpty());
  EXPECT_LT(must(pool.pool->info("a")).record.own_bytes + 400'000, before);
}

TEST(CowPool, fsync_goes_through_the_log_and_is_replayed) {
  TestPool pool;
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  must(files.write("f", 0, "first"));
  must(pool.pool->sync());
  const auto commits = pool.pool->statistics().commits;
  const std::string text = noise(5000, 6);
  must(files.write("f", 100, text));
  must(files.make("d", S_IFDIR | 0700));
  must(files.rename("f", "d/g"));
  must(files.raw().sync_file(must(files.find("d/g")), 0, false));
  EXPECT_EQ(pool.pool->statistics().commits, commits);
  const auto expected = describe_tree(pool.files("a"));
  must(files.write("d/g", 0, "never made durable"));
  Rng rng(1);
  MemoryDevice after(pool.device->content_after_power_loss(rng));
  ASSERT_THAT(check_pool(after).findings, IsEmpty());
  auto reopened = must(Pool::open(after, quiet_options()));
  EXPECT_EQ(reopened->statistics().replayed, 3U);
  {
    auto seen = must(DatasetFiles::open(*reopened, "a"));
    EXPECT_EQ(describe_tree(Files(*seen)), expected);
  }
  must(reopened->sync());
  EXPECT_THAT(check_pool(after).findings, IsEmpty());
}

TEST(CowPool, lz4_shrinks_text_on_the_device) {
  std::string text;
  for (int i = 0; text.size() < kMiB; ++i) {
    text += fmt::format("line {} of a text that repeats itself\n", i);
  }
  std::map<Compression, std::uint64_t> own;
  for (const auto compression : {Compression::off, Compression::lz4}) {
    TestPool pool;
    DatasetOptions options;
    options.compression = compression;
    must(pool.pool->create("a", options));
    must(pool.files("a").write("text", 0, text));
    must(pool.pool->sync());
    own[compression] = must(pool.pool->info("a")).record.own_bytes;
    pool.reopen();
    EXPECT_EQ(must(pool.files("a").read("text")), text);
    EXPECT_THAT(pool.findings(), IsEmpty());
  }
  EXPECT_LT(own[Compression::lz4] * 3, own[Compression::off]);
}

TEST(CowPool, two_clones_read_the_device_once) {
  TestPool pool;
  must(pool.pool->create("base", {}));
  must(pool.files("base").write("file", 0, noise(2 * kMiB, 7)));
  must(pool.pool->snapshot("base", "base@1"));
  must(pool.pool->clone("base@1", "x"));
  must(pool.pool->clone("base@1", "y"));
  pool.reopen();
  const auto text = must(pool.files("x").read("file"));
  pool.files("y");
  const std::uint64_t before = pool.device->bytes_read();
  EXPECT_EQ(must(pool.files("y").read("file")), text);
  EXPECT_EQ(pool.device->bytes_read(), before);
}

TEST(CowPool, first_write_into_a_clone_writes_one_record_and_its_path) {
  for (const std::uint32_t record : {16 * kKiB, 128 * kKiB, kMiB}) {
    TestPool pool(128 * kMiB);
    DatasetOptions options;
    options.record_bytes = record;
    must(pool.pool->create("base", options));
    Files files = pool.files("base");
    for (int piece = 0; piece < 32; ++piece) {
      must(files.write("file", piece * kMiB, noise(kMiB, 100 + piece)));
    }
    must(pool.pool->snapshot("base", "base@1"));
    must(pool.pool->clone("base@1", "clone"));
    pool.reopen();
    Files clone = pool.files("clone");
    const std::uint64_t before = pool.device->bytes_written();
    must(clone.write("file", 16 * kMiB + 4096, noise(4096, 1)));
    must(clone.raw().sync_file(must(clone.find("file")), 0, false));
    const std::uint64_t at_fsync = pool.device->bytes_written() - before;
    must(pool.pool->sync());
    const std::uint64_t after_group = pool.device->bytes_written() - before;
    EXPECT_EQ(at_fsync, 8 * kKiB) << record;
    EXPECT_GE(after_group, record) << record;
    EXPECT_LE(after_group, record + 128 * kKiB) << record;
  }
}

TEST(CowPool, quota_limits_what_a_dataset_adds) {
  TestPool pool;
  DatasetOptions options;
  options.quota_bytes = 2 * kMiB;
  must(pool.pool->create("a", options));
  Files files = pool.files("a");
  Status written;
  std::uint64_t done = 0;
  for (; done < 64 && written.ok(); ++done) {
    written = files.write("f", done * 64 * kKiB, noise(64 * kKiB, done));
  }
  EXPECT_EQ(code_of(written), EDQUOT);
  EXPECT_GT(done, 20U);
  must(files.unlink("f"));
  must(files.write("g", 0, noise(kMiB, 1)));
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowPool, full_pool_says_so_and_goes_on_after_a_removal) {
  TestPool pool(16 * kMiB);
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  Status written;
  int count = 0;
  for (; written.ok() && count < 1000; ++count) {
    written = files.write("f" + std::to_string(count), 0, noise(100'000, count));
  }
  EXPECT_EQ(code_of(written), ENOSPC);
  EXPECT_GT(count, 80);
  for (int i = 0; i + 1 < count; i += 2) {
    must(files.unlink("f" + std::to_string(i)));
  }
  must(files.write("again", 0, noise(500'000, 1)));
  EXPECT_THAT(pool.findings(), IsEmpty());
}

TEST(CowPool, sparse_file_has_holes) {
  TestPool pool;
  must(pool.pool->create("a", {}));
  Files files = pool.files("a");
  must(files.write("f", 1 * kGiB, "end"));
  must(pool.pool->sync());
  const NodeId node = must(files.find("f"));
  EXPECT_EQ(must(files.raw().seek(node, 0, 0, SEEK_DATA)), kGiB);
  EXPECT_EQ(must(files.raw().seek(node, 0, 0, SEEK_HOLE)), 0U);
  EXPECT_LT(must(files.raw().attributes(node, 0)).st_blocks, 1000);
  must(files.truncate("f", 100));
  EXPECT_EQ(must(files.read("f")), std::string(100, '\0'));
  EXPECT_THAT(pool.findings(), IsEmpty());
}

}  // namespace
}  // namespace sbench::cow_fs
