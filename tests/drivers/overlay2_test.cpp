// overlay2_test.cpp: what only the overlay2 driver (and its mounts) must get right.
#include <sys/wait.h>

#include "drivers/layer/tar_writer.h"
#include "drivers/layer/tree.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

using fs_path = std::filesystem::path;

class Overlay2 : public testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"overlay2", {}})); }
};

TEST_F(Overlay2, metacopy_without_redirect_dir_is_refused_before_anything_is_touched) {
  enter_private_mounts();
  const Variant variant{"overlay2", {{"metacopy", "on"}, {"redirect_dir", "off"}}};
  const auto device = must(Device::make_image("/var/tmp", 256 * kMiB));
  const auto before = must(device->counters());
  const auto formatted = variant.spec().format(*device, variant.options());
  EXPECT_EQ(code_of(formatted), EINVAL);
  EXPECT_THAT(formatted.error().what, testing::HasSubstr("metacopy=on needs redirect_dir=on"));
  EXPECT_EQ(code_of(variant.spec().open(*device, variant.options(), "/mnt")), EINVAL);
  EXPECT_EQ((must(device->counters()) - before).bytes_written, 0u);
  EXPECT_THAT(variant.spec().probe(variant.options()).reason, testing::HasSubstr("metacopy"));
}

TEST_F(Overlay2, a_store_is_opened_only_with_the_options_it_was_made_with) {
  TestStore store({"overlay2", {{"redirect_dir", "on"}}}, 256 * kMiB);
  store.close();
  const auto& spec = store.variant().spec();
  const auto opened = spec.open(store.device(), complete_options(spec, {}), store.root());
  EXPECT_EQ(code_of(opened), EINVAL);
  EXPECT_THAT(opened.error().what, testing::HasSubstr("redirect_dir=on"));
  EXPECT_FALSE(is_mount_point(store.root())) << "a refused store is not left mounted";
  EXPECT_FALSE(spec.open(store.device(), complete_options(spec, {{"backing", "xfs"}}), store.root()).ok());
}

TEST_F(Overlay2, the_deepest_stack_mounts_below_long_and_awkward_roots) {
  enter_private_mounts();
  for (const fs_path& root :
       {fs_path("/mnt") / std::string(200, 'r') / std::string(200, 's'), fs_path("/mnt/a,b:c\\d e")}) {
    TestStore store({"overlay2", {}}, 256 * kMiB, root);
    ParentId parent;
    const std::string tail(110, 'i');  // long ids too
    for (int depth = 1; depth <= 128; ++depth) {
      const LayerId id = fmt::format("{}-{}", depth, tail);
      must(store.driver().prepare(id, parent));
      must(store.driver().commit(id, id));
      parent = id;
    }
    must(store.driver().prepare("container-" + tail, parent));
    auto tree = must(store.driver().mount("container-" + tail));
    write_file(tree.path() / "file", "deep");
    EXPECT_EQ(read_file(tree.path() / "file"), "deep");
  }
}

TEST_F(Overlay2, a_lower_directory_can_be_renamed_only_with_redirect_dir) {
  for (const bool redirect : {false, true}) {
    TestStore store({"overlay2", {{"redirect_dir", redirect ? "on" : "off"}}}, 256 * kMiB);
    Driver& driver = store.driver();
    make_layer(driver, "image", {}, [](const fs_path& tree) {
      std::filesystem::create_directory(tree / "old");
      write_file(tree / "old/file", "x");
    });
    make_layer(driver, "renamed", "image", [redirect](const fs_path& tree) {
      EXPECT_EQ(::rename((tree / "old").c_str(), (tree / "new").c_str()), redirect ? 0 : -1);
    });
    if (redirect) {
      EXPECT_FALSE(driver.capabilities().native_diff);
      MemorySink tar;
      must(driver.diff("renamed", "image", tar));
      must(driver.prepare("copy", "image"));
      MemorySource source(tar.data());
      must(driver.apply("copy", source));
      auto tree = must(driver.mount("copy"));
      EXPECT_EQ(read_file(tree.path() / "new/file"), "x");
      EXPECT_FALSE(path_exists(tree.path() / "old"));
    }
  }
}

TEST_F(Overlay2, volatile_layers_mount_again_and_again) {
  TestStore store({"overlay2", {{"volatile", "on"}}}, 256 * kMiB);
  make_layer(store.driver(), "image", {}, [](const fs_path&) {});
  must(store.driver().prepare("key", "image"));
  for (int i = 0; i < 3; ++i) {
    auto tree = must(store.driver().mount("key"));
    write_file(tree.path() / fmt::format("file-{}", i), "x");
    EXPECT_THAT(must(read_text("/proc/self/mountinfo")), testing::HasSubstr("volatile"));
    must(tree.release());
    store.reopen();
  }
  EXPECT_EQ(must(read_tree(must(store.driver().mount("key")).path())).size(), 4u);
}

TEST_F(Overlay2, index_keeps_hard_links_together_at_copy_up) {
  TestStore store({"overlay2", {{"index", "on"}}}, 256 * kMiB);
  make_layer(store.driver(), "image", {}, [](const fs_path& tree) {
    write_file(tree / "a", "old");
    std::filesystem::create_hard_link(tree / "a", tree / "b");
  });
  make_layer(store.driver(), "child", "image", [](const fs_path& tree) {
    write_file(tree / "a", "new");
    EXPECT_EQ(read_file(tree / "b"), "new");
  });
  EXPECT_EQ(read_file(must(store.driver().mount("child")).path() / "b"), "new");
}

TEST_F(Overlay2, overlay_xattrs_in_a_tar_do_not_steer_the_mount) {
  TestStore store({"overlay2", {}}, 256 * kMiB);
  Driver& driver = store.driver();
  make_layer(driver, "image", {}, [](const fs_path& tree) {
    std::filesystem::create_directory(tree / "dir");
    write_file(tree / "dir/visible", "x");
  });
  MemorySink tar;
  TarWriter writer(tar);
  TarEntry entry;
  entry.path = "dir";
  entry.mode = S_IFDIR | 0755;
  entry.xattrs = {{"trusted.overlay.opaque", "y"}, {"trusted.overlay.redirect", "/elsewhere"}};
  must(writer.add(entry));
  must(writer.finish());
  must(driver.prepare("hostile", "image"));
  MemorySource source(tar.data());
  must(driver.apply("hostile", source));
  EXPECT_TRUE(path_exists(must(driver.mount("hostile")).path() / "dir/visible"));
}

TEST_F(Overlay2, status_tells_what_a_person_must_know) {
  TestStore store({"overlay2", {{"metacopy", "on"}}}, 256 * kMiB);
  std::map<std::string, std::string> rows;
  for (const auto& [key, value] : store.driver().status()) {
    rows[key] = value;
  }
  EXPECT_EQ(rows["Backing Filesystem"], "ext4");
  EXPECT_EQ(rows["Supports d_type"], "true");
  EXPECT_EQ(rows["Native Overlay Diff"], "false");
  EXPECT_THAT(rows["Overlay Mount Options"], testing::HasSubstr("metacopy=on,redirect_dir=on"));
}

}  // namespace
}  // namespace sbench::test
