// The synthetic image: what its layers look like, and that a tar and direct writing give the same tree.
#include "workloads/content/image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "drivers/base/hash.h"
#include "drivers/base/units.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/tree.h"
#include "tests/support/support.h"
#include "workloads/content/layer_files.h"
#include "workloads/content/layer_store.h"

namespace sbench {
namespace {

LayerSpec spec(LayerStep step, ImageScale scale = ImageScale::full, unsigned revision = 0) {
  return {5, scale, step, revision};
}

std::vector<std::uint64_t> sorted_sizes(const ImageLayer& layer) {
  std::vector<std::uint64_t> sizes;
  for (const auto& entry : layer.entries) {
    if (S_ISREG(entry.mode) && entry.hard_link_target.empty()) {
      sizes.push_back(entry.size_bytes);
    }
  }
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

std::size_t depth(const std::string& path) {
  return static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) + 1;
}

template <typename Predicate>
std::size_t count_entries(const ImageLayer& layer, Predicate predicate) {
  return static_cast<std::size_t>(std::count_if(layer.entries.begin(), layer.entries.end(), predicate));
}

TEST(Image, LayersHaveTheSizesAndCountsOfRealOnes) {
  struct Expected {
    LayerStep step;
    std::uint64_t bytes_min, bytes_max, files_min, files_max;
  };
  for (const std::uint64_t seed : {1u, 5u, 99u}) {
    for (const Expected& expected :
         {Expected{LayerStep::base, 114 * kMiB, 126 * kMiB, 3000, 3600},
          Expected{LayerStep::packages, 37 * kMiB, 43 * kMiB, 1000, 1300},
          Expected{LayerStep::dependencies, 19 * kMiB, 21 * kMiB, 1700, 1900},
          Expected{LayerStep::code, 280 * kKiB, 320 * kKiB, 45, 55}, Expected{LayerStep::config, 0, 0, 0, 0}}) {
      const ImageLayer& layer = image_layer({seed, ImageScale::full, expected.step, 0});
      SCOPED_TRACE(to_string(expected.step));
      EXPECT_GE(layer.content_bytes, expected.bytes_min);
      EXPECT_LE(layer.content_bytes, expected.bytes_max);
      EXPECT_GE(layer.regular_files, expected.files_min);
      EXPECT_LE(layer.regular_files, expected.files_max);
    }
  }
}

TEST(Image, MostFilesAreSmallAndFewHoldMostBytes) {
  const ImageLayer& base = image_layer(spec(LayerStep::base));
  const auto sizes = sorted_sizes(base);
  EXPECT_LT(sizes[sizes.size() / 2], 16 * kKiB);
  EXPECT_GT(sizes[sizes.size() / 2], kKiB);
  EXPECT_GT(sizes.back(), kMiB);
  EXPECT_LT(sizes.back(), 32 * kMiB);
  std::uint64_t largest = 0;
  for (std::size_t i = sizes.size() * 9 / 10; i < sizes.size(); ++i) {
    largest += sizes[i];
  }
  EXPECT_GT(largest, base.content_bytes / 2);
  EXPECT_LT(sorted_sizes(image_layer(spec(LayerStep::dependencies)))[900], 8 * kKiB);
}

TEST(Image, BaseHasDepthAndAllKindsOfEntries) {
  const ImageLayer& base = image_layer(spec(LayerStep::base));
  std::size_t deepest = 0;
  for (const auto& entry : base.entries) {
    deepest = std::max(deepest, depth(entry.path));
  }
  EXPECT_GE(deepest, 7u);
  EXPECT_LE(deepest, 14u);
  EXPECT_GT(count_entries(base, [](const ImageEntry& e) { return S_ISDIR(e.mode); }), 200u);
  EXPECT_GT(count_entries(base, [](const ImageEntry& e) { return S_ISLNK(e.mode); }), 200u);
  EXPECT_GT(count_entries(base, [](const ImageEntry& e) { return !e.hard_link_target.empty(); }), 10u);
  EXPECT_GE(count_entries(base, [](const ImageEntry& e) { return (e.mode & S_ISUID) != 0 && S_ISREG(e.mode); }), 8u);
  EXPECT_GE(count_entries(base, [](const ImageEntry& e) { return e.xattrs.contains("security.capability"); }), 1u);
  EXPECT_GE(count_entries(base, [](const ImageEntry& e) { return e.gid != 0; }), 1u);
  EXPECT_EQ(count_entries(base, [](const ImageEntry& e) { return e.path == kSentinelPath; }), 1u);
}

TEST(Image, ParentsComeBeforeTheirChildrenAndLinkTargetsBeforeLinks) {
  for (const LayerStep step : kLayerSteps) {
    std::set<std::string> seen;
    for (const auto& entry : image_layer(spec(step)).entries) {
      const auto slash = entry.path.rfind('/');
      EXPECT_TRUE(slash == std::string::npos || seen.contains(entry.path.substr(0, slash))) << entry.path;
      EXPECT_TRUE(entry.hard_link_target.empty() || seen.contains(entry.hard_link_target)) << entry.path;
      EXPECT_TRUE(seen.insert(entry.path).second) << entry.path;
    }
  }
}

TEST(Image, PackagesReplaceAndDeleteFilesOfTheBase) {
  const ImageLayer& base = image_layer(spec(LayerStep::base));
  const ImageLayer& packages = image_layer(spec(LayerStep::packages));
  std::set<std::string> below;
  for (const auto& entry : base.entries) {
    below.insert(entry.path);
  }
  EXPECT_GT(count_entries(packages, [&](const ImageEntry& e) { return S_ISREG(e.mode) && below.contains(e.path); }),
            8u);
  ASSERT_GT(packages.deletions.size(), 10u);
  const MergedImage merged = merge_layers({&base, &packages});
  for (const auto& path : packages.deletions) {
    EXPECT_TRUE(below.contains(path)) << path;
    EXPECT_FALSE(merged.contains(path)) << path;
  }
  EXPECT_FALSE(merged.contains("var/lib/apt/lists/main"));
}

TEST(Image, SmallerScalesAreProportional) {
  const auto full = image_layer(spec(LayerStep::base)).content_bytes;
  EXPECT_NEAR(static_cast<double>(image_layer(spec(LayerStep::base, ImageScale::small)).content_bytes),
              static_cast<double>(full) / 10, static_cast<double>(full) / 50);
  EXPECT_NEAR(static_cast<double>(image_layer(spec(LayerStep::base, ImageScale::tiny)).content_bytes),
              static_cast<double>(full) / 40, static_cast<double>(full) / 80);
}

TEST(Image, TarIsTheSameOnEveryMachineAndInEveryRun) {
  const auto tar = layer_tar(spec(LayerStep::base, ImageScale::tiny));
  ASSERT_TRUE(tar.ok()) << tar.error().what;
  Sha256 hash;
  hash.update(*tar);
  EXPECT_EQ(hash.finish(), "49c1bb064ee7d0b909b275d5895c00be7b042ef87aa8244273b9a733988498a0");
}

TEST(Image, RevisionsAndSeedsChangeContent) {
  const auto content = [](const LayerSpec& of) { return xxh3(*layer_content(of)); };
  const auto code = content(spec(LayerStep::code, ImageScale::tiny));
  EXPECT_EQ(code, content(spec(LayerStep::code, ImageScale::tiny)));
  EXPECT_NE(code, content(spec(LayerStep::code, ImageScale::tiny, 1)));
  EXPECT_NE(code, content({6, ImageScale::tiny, LayerStep::code, 0}));
}

class TwoTrees : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::is_root()) {
      GTEST_SKIP() << "needs root: owners, set-id bits and capabilities are part of the tree";
    }
    for (const LayerStep step : kLayerSteps) {
      layers_.push_back(&image_layer(spec(step, ImageScale::tiny)));
    }
  }

  /// An empty tree whose root is the same wherever it is.
  std::filesystem::path make_root(const char* name) {
    auto root = folder_.path() / name;
    std::filesystem::create_directory(root);
    return root;
  }

  /// Tree without the root itself: nothing sets its time.
  static Tree tree_of(const std::filesystem::path& root) {
    auto tree = read_tree(root);
    EXPECT_TRUE(tree.ok()) << tree.error().what;
    tree->erase(".");
    return *tree;
  }

  Status unpack(const std::filesystem::path& root) {
    for (const auto* layer : layers_) {
      SBENCH_TRY_SET(const auto tar, layer_tar(layer->spec));
      MemorySource source(tar);
      SBENCH_TRY_SET([[maybe_unused]] const auto bytes, apply_layer(source, root, WhiteoutStyle::erase));
    }
    return {};
  }

  Status write(const std::filesystem::path& root) {
    for (const auto* layer : layers_) {
      SBENCH_TRY_SET(const auto content, layer_content(layer->spec));
      SBENCH_TRY(write_layer(root, *layer, content));
    }
    return {};
  }

  testing::TemporaryFolder folder_;
  std::vector<const ImageLayer*> layers_;
};

TEST_F(TwoTrees, UnpackedAndWrittenDirectlyAreEqual) {
  const auto unpacked = make_root("unpacked");
  const auto written = make_root("written");
  const Status first = unpack(unpacked);
  ASSERT_TRUE(first.ok()) << first.error().what;
  const Status second = write(written);
  ASSERT_TRUE(second.ok()) << second.error().what;
  const auto differences = compare_trees(tree_of(unpacked), tree_of(written));
  EXPECT_TRUE(differences.empty()) << differences.front();
}

TEST_F(TwoTrees, VerifyImageAcceptsTheTreeAndCatchesEveryKindOfDamage) {
  const auto root = make_root("tree");
  ASSERT_TRUE(write(root).ok());
  const MergedImage image = merge_layers(layers_);
  const auto verdict = [&](CheckDepth how) { return verify_image(root, image, how, Rng(1)); };
  const Status intact = verdict(CheckDepth::full);
  ASSERT_TRUE(intact.ok()) << intact.error().what;
  EXPECT_TRUE(verdict(CheckDepth::sampled).ok());

  const auto file = root / "usr/bin/perl";
  ASSERT_EQ(::chmod(file.c_str(), 0700), 0);
  EXPECT_FALSE(verdict(CheckDepth::full).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0755), 0);
  ASSERT_TRUE(verdict(CheckDepth::full).ok());

  std::filesystem::rename(root / "usr/bin/wall", root / "usr/bin/moved");
  const Status missing = verdict(CheckDepth::sampled);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().what.find("usr/bin/wall is missing"), std::string::npos) << missing.error().what;
  std::filesystem::copy_file(root / "usr/bin/moved", root / "usr/bin/wall");
  const Status surplus = verdict(CheckDepth::sampled);
  ASSERT_FALSE(surplus.ok());
  EXPECT_NE(surplus.error().what.find("usr/bin/moved should not be there"), std::string::npos) << surplus.error().what;
}

}  // namespace
}  // namespace sbench
