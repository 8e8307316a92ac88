// lifecycle_test.cpp: what every driver owes its callers: states, isolation, persistence, limits.
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "drivers/base/rng.h"
#include "drivers/layer/tree.h"
#include "harness/journal.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

class Conformance : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(GetParam()); }
};
SBENCH_INSTANTIATE_FOR_EVERY_DRIVER(Conformance);

using fs_path = std::filesystem::path;

/// What no driver can store in less.
std::string noise(std::size_t bytes) {
  Rng rng(1, "lifecycle");
  std::string content(bytes, '\0');
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t next = rng.next();
    std::memcpy(content.data() + at, &next, sizeof(next));
  }
  return content;
}

TEST_P(Conformance, ids_and_states_are_checked) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  for (const std::string bad : {"", ".", "..", "-x", "a/b", "a b", "über"}) {
    EXPECT_EQ(code_of(driver.prepare(bad, {})), EINVAL) << bad;
  }
  EXPECT_EQ(code_of(driver.prepare(std::string(129, 'x'), {})), EINVAL);
  EXPECT_EQ(code_of(driver.prepare("child", "nobody")), ENOENT);
  must(driver.prepare("key", {}));
  EXPECT_EQ(code_of(driver.prepare("key", {})), EEXIST);
  EXPECT_EQ(code_of(driver.prepare("child", "key")), EINVAL) << "an active layer is no parent";
  EXPECT_EQ(code_of(driver.commit("name", "nobody")), ENOENT);
  EXPECT_EQ(code_of(driver.commit("a/b", "key")), EINVAL);
  must(driver.commit("name", "key"));
  EXPECT_EQ(code_of(driver.mount("key")), ENOENT) << "commit renames";
  EXPECT_EQ(code_of(driver.commit("again", "name")), EINVAL);
  must(driver.prepare("key", "name"));
  EXPECT_EQ(code_of(driver.commit("name", "key")), EEXIST);
  EXPECT_EQ(code_of(driver.remove("name")), ENOTEMPTY);
  EXPECT_EQ(code_of(driver.remove("nobody")), ENOENT);
  EXPECT_EQ(code_of(driver.usage("nobody")), ENOENT);
  const std::string nothing;
  MemorySource empty(nothing);
  EXPECT_EQ(code_of(driver.apply("name", empty)), EINVAL);
  EXPECT_EQ(code_of(driver.apply("nobody", empty)), ENOENT);
  MemorySink sink;
  EXPECT_EQ(code_of(driver.diff("nobody", {}, sink)), ENOENT);
  must(driver.remove("key"));
  must(driver.remove("name"));
  EXPECT_TRUE(must(driver.list()).empty());
}

TEST_P(Conformance, a_longest_id_works) {
  TestStore store(GetParam());
  const LayerId longest(128, 'x');
  const LayerId other(128, 'y');
  make_layer(store.driver(), longest, {}, [](const fs_path&) {});
  make_layer(store.driver(), other, longest, [](const fs_path&) {});
  must(store.driver().remove(other));
  must(store.driver().remove(longest));
}

TEST_P(Conformance, mounts_are_counted_and_keep_a_layer_busy) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_layer(driver, "base", {}, [](const fs_path&) {});
  must(driver.prepare("key", "base"));
  auto first = must(driver.mount("key"));
  auto second = must(driver.mount("key"));
  EXPECT_EQ(first.path(), second.path());
  must(first.release());
  write_file(second.path() / "file", "still here");
  EXPECT_EQ(read_file(second.path() / "file"), "still here");
  EXPECT_EQ(code_of(driver.commit("name", "key")), EBUSY);
  EXPECT_EQ(code_of(driver.remove("key")), EBUSY);
  must(second.release());
  must(driver.commit("name", "key"));
  must(driver.remove("name"));
}

TEST_P(Conformance, containers_of_one_image_do_not_see_each_others_writes) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_layer(driver, "image", {}, [](const fs_path& tree) {
    write_file(tree / "shared", "image");
    write_file(tree / "deleted", "image");
  });
  must(driver.prepare("one", "image"));
  must(driver.prepare("two", "image"));
  auto image = must(driver.mount("image"));
  auto one = must(driver.mount("one"));
  auto two = must(driver.mount("two"));
  write_file(one.path() / "shared", "one");
  write_file(two.path() / "shared", "two");
  write_file(one.path() / "only-one", "one");
  std::filesystem::remove(two.path() / "deleted");
  EXPECT_EQ(read_file(one.path() / "shared"), "one");
  EXPECT_EQ(read_file(two.path() / "shared"), "two");
  EXPECT_EQ(read_file(image.path() / "shared"), "image");
  EXPECT_FALSE(path_exists(two.path() / "only-one"));
  EXPECT_FALSE(path_exists(image.path() / "only-one"));
  EXPECT_TRUE(path_exists(one.path() / "deleted"));
  EXPECT_TRUE(path_exists(image.path() / "deleted"));
}

/// One way of touching a lower file first, and what it must look like afterwards.
struct Trigger {
  const char* name;
  void (*act)(const fs_path& file);
};

const Trigger kTriggers[] = {
    {"append", [](const fs_path& file) { must(write_all(must(open_file(file, O_WRONLY | O_APPEND)).get(), "x", "")); }},
    {"patch", [](const fs_path& file) { must(write_all(must(open_file(file, O_RDWR)).get(), "x", "")); }},
    {"truncate", [](const fs_path& file) { ASSERT_EQ(::truncate(file.c_str(), 10), 0); }},
    {"open_truncating", [](const fs_path& file) { must(open_file(file, O_WRONLY | O_TRUNC)); }},
    {"open_without_write", [](const fs_path& file) { must(open_file(file, O_RDWR)); }},
    {"chmod", [](const fs_path& file) { ASSERT_EQ(::chmod(file.c_str(), 0600), 0); }},
    {"chown", [](const fs_path& file) { ASSERT_EQ(::chown(file.c_str(), 7, 8), 0); }},
    {"utimes",
     [](const fs_path& file) {
       const timespec times[2] = {{5, 0}, {6, 7}};
       ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
     }},
    {"setxattr", [](const fs_path& file) { ASSERT_EQ(::setxattr(file.c_str(), "user.x", "y", 1, 0), 0); }},
    {"link", [](const fs_path& file) { ASSERT_EQ(::link(file.c_str(), (file.string() + "-2").c_str()), 0); }},
    {"rename", [](const fs_path& file) { ASSERT_EQ(::rename(file.c_str(), (file.string() + "-2").c_str()), 0); }},
    {"unlink", [](const fs_path& file) { ASSERT_EQ(::unlink(file.c_str()), 0); }},
    {"fallocate_punch",
     [](const fs_path& file) {
       const Fd fd = must(open_file(file, O_RDWR));
       ASSERT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
     }},
    {"mmap_write",
     [](const fs_path& file) {
       const Fd fd = must(open_file(file, O_RDWR));
       void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
       ASSERT_NE(memory, MAP_FAILED);
       static_cast<char*>(memory)[17] = 'm';
       ::munmap(memory, 4096);
     }},
};

TEST_P(Conformance, every_way_to_touch_a_lower_file_leaves_the_parent_alone) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  TestStore control({"native", {}}, 64 * kMiB);
  const auto fill = [](const fs_path& tree) {
    for (const auto& trigger : kTriggers) {
      write_file(tree / trigger.name, std::string(9000, 'l'));
      const timespec times[2] = {{1, 2}, {3, 4}};
      ASSERT_EQ(::utimensat(AT_FDCWD, (tree / trigger.name).c_str(), times, 0), 0);
    }
  };
  const auto touch = [](const fs_path& tree) {
    for (const auto& trigger : kTriggers) {
      trigger.act(tree / trigger.name);
    }
  };
  make_layer(driver, "image", {}, fill);
  make_layer(control.driver(), "image", {}, fill);
  const Tree before = must(read_tree(must(driver.mount("image")).path()));
  make_layer(driver, "touched", "image", touch);
  make_layer(control.driver(), "touched", "image", touch);
  EXPECT_THAT(compare_trees(before, must(read_tree(must(driver.mount("image")).path()))), testing::IsEmpty());

  Tree expected = must(read_tree(must(control.driver().mount("touched")).path()));
  Tree actual = must(read_tree(must(driver.mount("touched")).path()));
  ASSERT_EQ(expected.size(), actual.size());
  for (auto* tree : {&expected, &actual}) {  // where the clock set the time, it differs
    for (auto& [path, entry] : *tree) {
      entry.mtime_ns = entry.mtime_ns < 10'000'000'000 ? entry.mtime_ns : 0;
    }
  }
  EXPECT_THAT(compare_trees(expected, actual), testing::IsEmpty());
}

TEST_P(Conformance, a_stack_of_120_layers_shows_all_of_them) {
  constexpr int kDepth = 120;
  TestStore store(GetParam());
  Driver& driver = store.driver();
  ParentId parent;
  for (int depth = 1; depth <= kDepth; ++depth) {
    const LayerId id = fmt::format("layer-{}", depth);
    make_layer(driver, id, parent, [depth](const fs_path& tree) {
      write_file(tree / fmt::format("file-{}", depth), std::to_string(depth));
      write_file(tree / "newest", std::to_string(depth));
      if (depth > 1) {
        std::filesystem::remove(tree / fmt::format("file-{}", depth / 2));
      }
    });
    parent = id;
  }
  must(driver.prepare("container", parent));
  auto tree = must(driver.mount("container"));
  EXPECT_EQ(read_file(tree.path() / "newest"), "120");
  for (int depth = 1; depth <= kDepth; ++depth) {
    const auto file = tree.path() / fmt::format("file-{}", depth);
    EXPECT_EQ(path_exists(file), depth > kDepth / 2) << depth;
  }
  EXPECT_EQ(read_file(tree.path() / "file-61"), "61");
  write_file(tree.path() / "file-61", "container");
  must(tree.release());
  EXPECT_EQ(read_file(must(driver.mount("layer-120")).path() / "file-61"), "61");
  EXPECT_EQ(must(driver.list()).size(), 121u);
}

TEST_P(Conformance, a_stack_deeper_than_the_driver_can_is_refused_before_anything_is_made) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  const int depth_max = driver.capabilities().depth_layers_max;
  if (depth_max == 0) {
    GTEST_SKIP() << GetParam().name() << " has no depth limit";
  }
  ParentId parent;
  for (int depth = 1; depth <= depth_max; ++depth) {
    const LayerId id = fmt::format("layer-{}", depth);
    make_layer(driver, id, parent, [](const fs_path&) {});
    parent = id;
  }
  must(driver.prepare("container", parent));  // the writable layer on top of the deepest image
  {
    auto tree = must(driver.mount("container"));
    write_file(tree.path() / "file", "x");
  }
  must(driver.commit("too-deep", "container"));
  EXPECT_EQ(read_file(must(driver.mount("too-deep")).path() / "file"), "x");
  const auto before = must(driver.store_usage()).inodes;
  EXPECT_EQ(code_of(driver.prepare("refused", "too-deep")), EINVAL);
  EXPECT_EQ(must(driver.store_usage()).inodes, before);
  EXPECT_EQ(code_of(driver.mount("refused")), ENOENT);
}

TEST_P(Conformance, a_store_survives_closing_and_opening) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path& tree) { write_file(tree / "file", "base"); });
  must(store.driver().prepare("key", "base"));
  write_file(must(store.driver().mount("key")).path() / "file", "key");
  const auto before = must(store.driver().list());
  store.reopen();
  EXPECT_EQ(must(store.driver().list()), before);
  EXPECT_EQ(code_of(store.driver().prepare("child", "key")), EINVAL) << "still active";
  EXPECT_EQ(read_file(must(store.driver().mount("base")).path() / "file"), "base");
  {
    auto tree = must(store.driver().mount("key"));
    EXPECT_EQ(read_file(tree.path() / "file"), "key");
    write_file(tree.path() / "more", "more");
    must(tree.release());
  }
  must(store.driver().commit("name", "key"));
  store.reopen();
  EXPECT_EQ(read_file(must(store.driver().mount("name")).path() / "more"), "more");
}

TEST_P(Conformance, a_killed_process_leaves_a_store_that_opens) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path& tree) { write_file(tree / "file", "base"); });
  store.close();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0) {
      ::_exit(1);
    }
    store.open();
    must(store.driver().prepare("key", "base"));
    auto tree = must(store.driver().mount("key"));
    write_file(tree.path() / "file", "key");
    write_file(tree.path() / "new", "new");
    ::_exit(testing::Test::HasFailure() ? 1 : 0);  // nothing is released
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  store.open();
  EXPECT_EQ(must(store.driver().list()).size(), 2u);
  {
    auto tree = must(store.driver().mount("key"));
    EXPECT_EQ(read_file(tree.path() / "file"), "key");
    write_file(tree.path() / "file", "again");
    must(tree.release());
  }
  must(store.driver().commit("name", "key"));
  EXPECT_EQ(read_file(must(store.driver().mount("base")).path() / "file"), "base");
  must(store.driver().remove("name"));
}

TEST_P(Conformance, leftovers_of_a_killed_prepare_do_not_disturb_the_next) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path&) {});
  must(store.driver().prepare("key", "base"));
  write_file(must(store.driver().mount("key")).path() / "old", "old");
  // As if the process had been killed before the layer was entered in the table.
  ASSERT_EQ(::unlink((store.tables() / "active" / "key").c_str()), 0);
  store.reopen();
  must(store.driver().prepare("key", "base"));
  EXPECT_FALSE(path_exists(must(store.driver().mount("key")).path() / "old"));
}

TEST_P(Conformance, a_full_device_says_so_and_recovers_when_the_layer_goes) {
  const auto options = GetParam().options();
  const bool ext4 = options.contains("backing") && options.at("backing") == "ext4";
  TestStore store(GetParam(), (ext4 ? 96 : 320) * kMiB);
  Driver& driver = store.driver();
  make_layer(driver, "base", {}, [](const fs_path& tree) { write_file(tree / "file", "base"); });
  must(driver.prepare("full", "base"));
  {
    auto tree = must(driver.mount("full"));
    const Fd fd = must(open_file(tree.path() / "big", O_WRONLY | O_CREAT));
    const std::string block = noise(4 * kMiB);
    int code = 0;
    for (int i = 0; i < 200 && code == 0; ++i) {
      code = code_of(write_all(fd.get(), block, "big"));
      if (code == 0 && ::fdatasync(fd.get()) != 0) {
        code = errno;
      }
    }
    EXPECT_EQ(code, ENOSPC);
  }
  EXPECT_EQ(read_file(must(driver.mount("base")).path() / "file"), "base");
  must(driver.remove("full"));
  must(driver.sync());
  make_layer(driver, "next", "base",
             [](const fs_path& tree) { write_file(tree / "big", noise(32 * kMiB)); });
  must(driver.sync());
  EXPECT_EQ(std::filesystem::file_size(must(driver.mount("next")).path() / "big"), 32 * kMiB);
}

TEST_P(Conformance, usage_counts_the_layers_own_space) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_layer(driver, "base", {}, [](const fs_path& tree) { write_file(tree / "file", noise(8 * kMiB)); });
  make_layer(driver, "child", "base",
             [](const fs_path& tree) { write_file(tree / "more", noise(2 * kMiB)); });
  must(driver.sync());
  const auto child = must(driver.usage("child")).bytes_allocated;
  const bool clones = GetParam().name() == "vfs:backing=xfs";
  const bool copies = driver.capabilities().copies_at_prepare && !clones;
  EXPECT_GE(child, (copies ? 10 : 2) * kMiB);
  EXPECT_LT(child, (copies ? 11 : 3) * kMiB);
  const auto base = must(driver.usage("base")).bytes_allocated;
  EXPECT_GE(base, clones ? 0 : 8 * kMiB) << "a clone's parent shares all its data";
  EXPECT_LT(base, 9 * kMiB);
}

TEST_P(Conformance, removing_a_layer_gives_its_space_back_by_the_next_sync) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_layer(driver, "base", {}, [](const fs_path&) {});
  must(driver.sync());
  const auto before = must(driver.store_usage());
  make_layer(driver, "big", "base",
             [](const fs_path& tree) { write_file(tree / "file", noise(32 * kMiB)); });
  must(driver.sync());
  EXPECT_GE(must(driver.store_usage()).bytes_allocated, before.bytes_allocated + 32 * kMiB);
  must(driver.remove("big"));
  must(driver.sync());
  EXPECT_LT(must(driver.store_usage()).bytes_allocated, before.bytes_allocated + kMiB);
}

TEST_P(Conformance, sync_puts_what_was_written_on_the_device) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path&) {});
  must(store.driver().prepare("key", "base"));
  must(store.driver().sync());
  const auto before = must(store.device().counters());
  auto tree = must(store.driver().mount("key"));
  write_file(tree.path() / "file", noise(8 * kMiB));
  must(store.driver().sync());
  const auto delta = must(store.device().counters()) - before;
  EXPECT_GE(delta.bytes_written, 8 * kMiB);
  EXPECT_LT(delta.bytes_written, 10 * kMiB);
}

TEST_P(Conformance, a_detached_mount_outlives_the_driver_and_is_adopted) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path&) {});
  must(store.driver().prepare("key", "base"));
  auto tree = must(store.driver().mount("key"));
  const auto path = tree.path();
  write_file(path / "file", "before");
  tree.detach();
  store.close();
  EXPECT_EQ(read_file(path / "file"), "before") << "the tree is still there";
  store.open();
  {
    auto again = must(store.driver().mount("key"));
    EXPECT_EQ(again.path(), path);
  }
  EXPECT_EQ(read_file(path / "file"), "before") << "an adopted mount stays";
  EXPECT_EQ(code_of(store.driver().remove("key")), EBUSY);
  EXPECT_EQ(code_of(store.driver().commit("name", "key")), EBUSY);
  must(store.driver().prepare("other", "base"));
  must(store.driver().remove("other"));
  auto last = must(store.driver().mount("key"));
  must(last.release());
  must(store.driver().commit("name", "key"));
  store.close();
  EXPECT_GE(must(unmount_below(store.root())), 1) << "an adopted backing stays";
}

TEST_P(Conformance, closing_leaves_no_mount) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path&) {});
  must(store.driver().prepare("key", "base"));
  {
    auto tree = must(store.driver().mount("key"));
    auto base = must(store.driver().mount("base"));
  }
  store.close();
  EXPECT_FALSE(is_mount_point(store.root()));
  EXPECT_THAT(must(read_text("/proc/self/mountinfo")), testing::Not(testing::HasSubstr(store.root().string())));
}

TEST_P(Conformance, too_small_a_device_is_refused_with_the_size_it_takes) {
  enter_private_mounts();
  auto device = must(Device::make_image("/var/tmp", 16 * kMiB));
  const auto status = GetParam().spec().format(*device, GetParam().options());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ENOSPC);
  EXPECT_THAT(status.error().what, testing::HasSubstr("at least"));
}

TEST_P(Conformance, an_unformatted_device_does_not_open) {
  enter_private_mounts();
  auto device = must(Device::make_image("/var/tmp", kGiB));
  std::filesystem::create_directories("/mnt/unformatted");
  EXPECT_FALSE(GetParam().spec().open(*device, GetParam().options(), "/mnt/unformatted").ok());
  EXPECT_FALSE(is_mount_point("/mnt/unformatted"));
}

TEST_P(Conformance, status_says_something_and_every_row_is_filled) {
  TestStore store(GetParam());
  const auto rows = store.driver().status();
  EXPECT_GE(rows.size(), 4u);
  for (const auto& [key, value] : rows) {
    EXPECT_FALSE(key.empty());
    EXPECT_FALSE(value.empty()) << key;
  }
}

}  // namespace
}  // namespace sbench::test
