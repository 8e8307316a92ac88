// Every workload on an image the user gave: what is pulled, built and started is that image.
#include <sys/sysmacros.h>

#include "drivers/layer/apply.h"
#include "drivers/layer/tar_writer.h"
#include "drivers/layer/tree.h"
#include "images/oci_archive.h"
#include "tests/workloads/fake_case.h"
#include "workloads/content/base_image.h"
#include "workloads/content/fixtures.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;

/// Adds entries to a layer tar.
class LayerTar {
 public:
  LayerTar() : writer_(sink_) {}
  LayerTar& folder(const std::string& path, std::uint32_t mode = 0755, std::uint32_t uid = 0) {
    return add({.path = path, .mode = S_IFDIR | mode, .uid = uid, .mtime_ns = 1'500'000'000'000'000'001});
  }
  LayerTar& file(const std::string& path, const std::string& content, std::uint32_t mode = 0644) {
    add({.path = path, .mode = S_IFREG | mode, .gid = 7, .size_bytes = content.size(),
         .mtime_ns = 1'600'000'000'123'456'789});
    if (!content.empty()) {
      EXPECT_TRUE(writer_.write_data(std::as_bytes(std::span(content.data(), content.size()))).ok());
    }
    return *this;
  }
  LayerTar& add(const TarEntry& entry) {
    EXPECT_TRUE(writer_.add(entry).ok());
    return *this;
  }
  LayerTar& remove(const std::string& path, bool opaque = false) {
    EXPECT_TRUE(writer_.add_whiteout(path, opaque).ok());
    return *this;
  }
  std::string data() {
    EXPECT_TRUE(writer_.finish().ok());
    return sink_.data();
  }

 private:
  MemorySink sink_;
  TarWriter writer_;
};

std::string base_layer() {
  return LayerTar()
      .folder("etc", 0755)
      .file("etc/passwd", "root:x:0:0::/:\n")
      .folder("opt", 0750, 5)
      .folder("usr")
      .folder("usr/bin")
      .file("usr/bin/tool", std::string(90'000, 't'), 04755)
      .add({.path = "usr/bin/tool-link", .mode = S_IFREG | 04755, .hard_link_target = "usr/bin/tool"})
      .add({.path = "bin", .mode = S_IFLNK | 0777, .link_target = "usr/bin"})
      .file("bin/through", "a file named through a link of its own layer\n")
      .folder("usr/share")
      .folder("usr/share/locale")
      .file("usr/share/locale/de", "de")
      .folder("old")
      .file("old/one", "1")
      .file("old/two", "2")
      .file("gone", "soon")
      .folder("dev")
      .add({.path = "dev/null", .mode = S_IFCHR | 0666, .device_number = ::makedev(1, 3)})
      .add({.path = "run.pipe", .mode = S_IFIFO | 0600})
      .file("folder-to-be", "a file")
      .data();
}

std::string second_layer() {
  return LayerTar()
      .remove("gone")
      .folder("old", 0700)
      .remove("old", true)
      .file("old/three", "3")
      .file("usr/bin/tool-link", "no longer linked", 0755)
      .file("etc/deep/er/file", "its folders are not listed")
      .folder("folder-to-be")
      .file("folder-to-be/file", "a folder replaced a file")
      .data();
}

/// An OCI archive of the two layers, loaded.
std::shared_ptr<const BaseImage> two_layer_image(const TemporaryFolder& folder) {
  const std::vector<std::string> layers = {base_layer(), second_layer()};
  NewImage image;
  for (const auto& layer : layers) {
    image.layers.push_back(std::as_bytes(std::span(layer.data(), layer.size())));
  }
  image.tag = "test:1";
  const auto members = oci_members(image);
  EXPECT_TRUE(members.ok() && write_archive(*members, folder.path() / "app.tar").ok());
  auto loaded = load_base_image((folder.path() / "app.tar").string(), "");
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().what);
  return loaded.ok() ? *loaded : nullptr;
}

const std::vector<const WorkloadSpec*>& real_workloads() {
  static const auto chosen = [] {
    std::vector<const WorkloadSpec*> specs;
    for (const auto& spec : workload_registry()) {
      if (!spec.runs_on_null) {
        specs.push_back(&spec);
      }
    }
    return specs;
  }();
  return chosen;
}

/// The parameters the planner would make of the first smoke case.
Params image_params(const WorkloadSpec& spec, const BaseImage& image) {
  Params named;
  const Params first = expand_params(spec, Profile::smoke).front();
  for (const auto& [name, value] : first.items()) {
    named.set(name, name == "image" ? image.slug + "-" + value : value);
  }
  return named;
}

class GivenImage : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = reason_not_here(GetParam()); !reason.empty()) {
      GTEST_SKIP() << GetParam() << ": " << reason;
    }
  }
};

std::vector<std::string> storing_drivers() {
  std::vector<std::string> names;
  for (const auto& spec : driver_registry()) {
    if (spec.capabilities.stores_layers) {
      names.push_back(spec.name);
    }
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Drivers, GivenImage, ::testing::ValuesIn(storing_drivers()), [](const auto& each) {
  std::string name = each.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(GivenImage, every_workload_runs_on_it_and_verifies) {
  const TemporaryFolder folder;
  const auto image = two_layer_image(folder);
  ASSERT_NE(image, nullptr);
  FakeStore store(GetParam());
  for (const auto* spec : real_workloads()) {
    FakeCase c(store, image_params(*spec, *image));
    c.given_image = image.get();
    const Status ran = spec->run(c);
    EXPECT_TRUE(ran.ok()) << spec->name << ": " << ran.error().what;
  }
}

/// The tree a driver shows is the one that unpacking the layers into a plain directory gives.
TEST_P(GivenImage, the_tree_that_comes_out_is_the_one_that_went_in) {
  const TemporaryFolder folder;
  const auto image = two_layer_image(folder);
  ASSERT_NE(image, nullptr);
  const auto plain = folder.path() / "plain";
  fs::create_directory(plain);
  for (const auto& tar : image->tars) {
    MemorySource source(*tar->map());
    const auto applied = apply_layer(source, plain, WhiteoutStyle::erase);
    ASSERT_TRUE(applied.ok()) << applied.error().what;
  }
  FakeStore store(GetParam());
  FakeCase c(store, {});
  c.given_image = image.get();
  const auto top = pulled_image(c, ImageScale::tiny, LayerStep::base);
  ASSERT_TRUE(top.ok()) << top.error().what;
  auto mount = store.driver().mount(*top);
  ASSERT_TRUE(mount.ok()) << mount.error().what;
  // Times of folders that no layer lists are nobody's business.
  const TreeOptions options{.directory_times = false};
  EXPECT_EQ(compare_trees(*read_tree(plain, options), *read_tree(mount->path(), options)), std::vector<std::string>());
  const auto merged = merged_image(c, ImageScale::tiny, LayerStep::base);
  const Status model = verify_image(mount->path(), merged, CheckDepth::full, c.rng("verify"));
  EXPECT_TRUE(model.ok()) << model.error().what;
  EXPECT_TRUE(mount->release().ok());
}

TEST(GivenImageModel, follows_links_of_its_own_layer_and_refuses_those_of_lower_ones) {
  const TemporaryFolder folder;
  const auto image = two_layer_image(folder);
  ASSERT_NE(image, nullptr);
  const auto merged = merge_layers(image->all_layers());
  EXPECT_TRUE(merged.contains("usr/bin/through"));
  EXPECT_FALSE(merged.contains("gone"));
  EXPECT_FALSE(merged.contains("old/one"));
  EXPECT_TRUE(merged.contains("old/three"));
  EXPECT_TRUE(merged.contains("folder-to-be/file"));
  EXPECT_FALSE(merged.at("etc/deep/er")->time_known);
  EXPECT_EQ(image->probe_path, "usr/bin/tool");

  const std::string below = base_layer();
  NewImage twice;
  twice.layers = {std::as_bytes(std::span(below.data(), below.size())), std::as_bytes(std::span(below.data(), below.size()))};
  const auto repeated = oci_members(twice);
  ASSERT_TRUE(repeated.ok() && write_archive(*repeated, folder.path() / "twice.tar").ok());
  const auto both = load_base_image((folder.path() / "twice.tar").string(), "");
  ASSERT_TRUE(both.ok()) << both.error().what;
  EXPECT_EQ((*both)->contents[0], (*both)->contents[1]) << "a layer that repeats takes its memory once";

  const std::string through = LayerTar().file("bin/new", "x").data();
  NewImage bad;
  bad.layers = {std::as_bytes(std::span(below.data(), below.size())),
                std::as_bytes(std::span(through.data(), through.size()))};
  const auto members = oci_members(bad);
  ASSERT_TRUE(members.ok() && write_archive(*members, folder.path() / "bad.tar").ok());
  const auto loaded = load_base_image((folder.path() / "bad.tar").string(), "");
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().what.find("layer 2 of 2"), std::string::npos) << loaded.error().what;
  EXPECT_NE(loaded.error().what.find("bin/new"), std::string::npos) << loaded.error().what;

  const std::string nowhere =
      LayerTar().add({.path = "d", .mode = S_IFLNK | 0777, .link_target = "/nowhere"}).file("d/file", "x").data();
  bad.layers[1] = std::as_bytes(std::span(nowhere.data(), nowhere.size()));
  const auto dangling = oci_members(bad);
  ASSERT_TRUE(dangling.ok() && write_archive(*dangling, folder.path() / "dangling.tar").ok());
  const auto refused = load_base_image((folder.path() / "dangling.tar").string(), "");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().what.find("layer 2 of 2"), std::string::npos) << refused.error().what;
  EXPECT_NE(refused.error().what.find("d/file lies below d, a link that leads to no directory"), std::string::npos)
      << refused.error().what;
}

}  // namespace
}  // namespace sbench::testing
