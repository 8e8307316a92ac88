// layer_content_test.cpp: what every driver must keep of a layer, and say about it.
#include <sys/xattr.h>

#include <map>

#include "drivers/layer/tree.h"
#include "harness/layer_changes.h"
#include "harness/semantic_check.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

using fs_path = std::filesystem::path;

class LayerContent : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(GetParam()); }
};
SBENCH_INSTANTIATE_FOR_EVERY_DRIVER(LayerContent);

TEST_P(LayerContent, the_semantic_check_passes_and_leaves_the_store_as_it_was) {
  TestStore store(GetParam());
  make_layer(store.driver(), "mine", {}, [](const fs_path&) {});
  const auto before = must(store.driver().list());
  for (const std::uint64_t seed : {1u, 2u, 77u}) {
    const auto found = must(semantic_check(store.driver(), seed, known_deviations(GetParam().driver)));
    EXPECT_THAT(found.differences, testing::IsEmpty()) << "seed " << seed;
  }
  EXPECT_EQ(must(store.driver().list()), before);
}

/// A small image and a layer on top with one change of every kind.
void make_image_and_change(Driver& driver) {
  make_layer(driver, "image", {}, [](const fs_path& tree) {
    for (const auto* folder : {"dir", "gone", "opaque", "kept"}) {
      std::filesystem::create_directory(tree / folder);
      write_file(tree / folder / "one", "1");
      write_file(tree / folder / "two", "2");
    }
    write_file(tree / "typed", "file");
  });
  make_layer(driver, "changed", "image", [](const fs_path& tree) {
    write_file(tree / "dir/one", "longer than before");
    std::filesystem::remove(tree / "dir/two");
    write_file(tree / "dir/three", "3");
    std::filesystem::remove_all(tree / "gone");
    std::filesystem::remove_all(tree / "opaque");
    std::filesystem::create_directory(tree / "opaque");
    write_file(tree / "opaque/two", "another two");
    std::filesystem::remove(tree / "typed");
    std::filesystem::create_directory(tree / "typed");
    write_file(tree / "typed/inside", "i");
  });
}

TEST_P(LayerContent, changes_lists_what_was_added_modified_and_deleted) {
  TestStore store(GetParam());
  make_image_and_change(store.driver());
  std::map<std::string, Change::Kind> found;
  std::string previous;
  for (const auto& change : must(store.driver().changes("changed", "image"))) {
    EXPECT_LT(previous, change.path) << "sorted, each path once";
    previous = change.path;
    found[change.path] = change.kind;
  }
  // A directory may be listed as modified because something in it was.
  for (const auto* folder : {"dir", "opaque"}) {
    const auto at = found.find(folder);
    if (at != found.end()) {
      EXPECT_EQ(at->second, Change::Kind::modified) << folder;
      found.erase(at);
    }
  }
  // A deleted directory may be listed alone or with what was in it.
  found.erase("gone/one");
  found.erase("gone/two");
  using Kind = Change::Kind;
  const std::map<std::string, Kind> expected = {
      {"dir/one", Kind::modified}, {"dir/two", Kind::deleted},    {"dir/three", Kind::added},
      {"gone", Kind::deleted},     {"opaque/one", Kind::deleted}, {"opaque/two", Kind::modified},
      {"typed", Kind::modified},   {"typed/inside", Kind::added},
  };
  EXPECT_EQ(found, expected);
}

TEST_P(LayerContent, an_untouched_layer_has_no_changes) {
  TestStore store(GetParam());
  make_image_and_change(store.driver());
  make_layer(store.driver(), "idle", "changed", [](const fs_path& tree) { must(read_tree(tree)); });
  EXPECT_THAT(must(store.driver().changes("idle", "changed")), testing::IsEmpty());
}

TEST_P(LayerContent, a_layer_can_be_packed_against_no_parent_and_against_a_grandparent) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_image_and_change(driver);
  make_layer(driver, "third", "changed", [](const fs_path& tree) { write_file(tree / "third", "3"); });
  Tree expected = must(read_tree(must(driver.mount("third")).path()));
  const auto unpack = [&](const LayerId& id, const ParentId& parent, const ParentId& target_parent) {
    MemorySink tar;
    must(driver.diff("third", parent, tar));
    MemorySource source(tar.data());
    must(driver.prepare(id, target_parent));
    must(driver.apply(id, source));
    must(driver.commit(id, id));
    return must(read_tree(must(driver.mount(id)).path()));
  };
  Tree flat = unpack("flat", {}, {});
  Tree squashed = unpack("squashed", "image", "image");
  expected["."] = flat["."] = squashed["."];  // a tar does not carry the root directory
  EXPECT_THAT(compare_trees(expected, flat), testing::IsEmpty());
  EXPECT_THAT(compare_trees(expected, squashed), testing::IsEmpty());
}

TEST_P(LayerContent, unpacking_into_a_layer_that_was_written_or_is_mounted_works) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_image_and_change(driver);
  MemorySink tar;
  must(driver.diff("changed", "image", tar));
  must(driver.prepare("written", "image"));
  write_file(must(driver.mount("written")).path() / "dir/four", "4");
  {
    MemorySource source(tar.data());
    must(driver.apply("written", source));
  }
  must(driver.prepare("mounted", "image"));
  {
    auto tree = must(driver.mount("mounted"));
    MemorySource source(tar.data());
    must(driver.apply("mounted", source));
    EXPECT_EQ(read_file(tree.path() / "dir/one"), "longer than before");
    EXPECT_FALSE(path_exists(tree.path() / "gone"));
  }
  for (const auto* id : {"written", "mounted"}) {
    auto tree = must(driver.mount(id));
    EXPECT_EQ(read_file(tree.path() / "dir/one"), "longer than before") << id;
    EXPECT_FALSE(path_exists(tree.path() / "gone")) << id;
    EXPECT_FALSE(path_exists(tree.path() / "opaque/one")) << id;
    EXPECT_EQ(path_exists(tree.path() / "dir/four"), id == std::string("written"));
    write_file(tree.path() / "dir/one", "once more");
  }
  EXPECT_EQ(read_file(must(driver.mount("image")).path() / "dir/one"), "1") << "the parent is untouched";
}

TEST_P(LayerContent, a_truncated_tar_is_an_error_and_the_layer_can_be_removed) {
  TestStore store(GetParam());
  Driver& driver = store.driver();
  make_image_and_change(driver);
  MemorySink tar;
  must(driver.diff("changed", "image", tar));
  must(driver.prepare("broken", "image"));
  const std::string cut = tar.data().substr(0, 1300);  // inside an entry
  MemorySource source(cut);
  EXPECT_FALSE(driver.apply("broken", source).ok());
  must(driver.remove("broken"));
  EXPECT_EQ(read_file(must(driver.mount("image")).path() / "dir/one"), "1");
}

TEST_P(LayerContent, the_root_directorys_own_mode_and_owner_reach_the_children) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path& tree) {
    ASSERT_EQ(::chmod(tree.c_str(), 01751), 0);
    ASSERT_EQ(::chown(tree.c_str(), 12, 34), 0);
  });
  make_layer(store.driver(), "child", "base", [](const fs_path&) {});
  struct stat info {};
  const auto tree = must(store.driver().mount("child"));
  ASSERT_EQ(::stat(tree.path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 01751u);
  EXPECT_EQ(info.st_uid, 12u);
  EXPECT_EQ(info.st_gid, 34u);
}

TEST_P(LayerContent, hard_links_made_in_a_layer_stay_one_file_in_its_children) {
  TestStore store(GetParam());
  make_layer(store.driver(), "base", {}, [](const fs_path& tree) {
    write_file(tree / "a", "linked");
    std::filesystem::create_hard_link(tree / "a", tree / "b");
  });
  make_layer(store.driver(), "child", "base", [](const fs_path&) {});
  const auto tree = must(store.driver().mount("child"));
  struct stat a {};
  struct stat b {};
  ASSERT_EQ(::stat((tree.path() / "a").c_str(), &a), 0);
  ASSERT_EQ(::stat((tree.path() / "b").c_str(), &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
}

}  // namespace
}  // namespace sbench::test
