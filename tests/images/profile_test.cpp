// Profiles: the same shape comes out again, the same seed gives the same bytes, nothing private stays in.
#include <algorithm>

#include "images/inspect.h"
#include "images/layer_scan.h"
#include "images/profile.h"
#include "tests/images/image_test.h"
#include "workloads/content/base_image.h"
#include "workloads/content/layer_store.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;

Files many_files() {
  Files files;
  for (int i = 0; i < 300; ++i) {
    files[fmt::format("usr/share/doc/package-{}/secret-name-{}", i % 40, i)] = std::string(100 + 37 * i, 'a' + i % 26);
    files[fmt::format("usr/lib/x86_64-linux-gnu/lib{}.so", i)] = std::string(i * 50, 'l');
    files[fmt::format("home/alice/private-project/deep/er/file{}", i)] = std::to_string(i);
  }
  files["usr/bin/one"] = files["usr/bin/two"] = std::string(50'000, 'd');
  return files;
}

Image image_of(const TemporaryFolder& folder, const std::vector<std::string>& layers) {
  put_file(folder.path() / "app.tar", make_tar(oci_files(layers)));
  return must(load((folder.path() / "app.tar").string()));
}

TEST(Profiles, what_is_generated_has_the_shape_of_what_was_profiled) {
  const TemporaryFolder folder;
  Files second = {{"usr/share/doc/package-1/.wh.secret-name-1", ""}, {"srv/new", "fresh"}};
  second["usr/lib/x86_64-linux-gnu/lib7.so"] = "replaced";
  const Image image = image_of(folder, {make_tar(many_files()), make_tar(second)});
  const ImageFacts wanted = must(inspect_image(image));
  const std::string text = profile_text(must(profile_image(image)));
  EXPECT_LT(text.size(), 40'000u);
  put_file(folder.path() / "shape.json", text);

  const auto base = must(load_base_image("profile:" + (folder.path() / "shape.json").string(), "", 5));
  ASSERT_EQ(base->layers.size(), 2u);
  Image made = image;
  for (std::size_t i = 0; i < 2; ++i) {
    const auto tar = must(layer_tar(base->layers[i]->spec));
    auto copy = must(MemoryFile::make("test"));
    must(copy->write(tar));
    made.layers[i].tar = std::move(copy);
  }
  const ImageFacts got = must(inspect_image(made));
  EXPECT_EQ(got.files, wanted.files);
  EXPECT_EQ(got.bytes, wanted.bytes);
  EXPECT_EQ(got.depth_max, wanted.depth_max);
  EXPECT_NEAR(got.depth_mean, wanted.depth_mean, 0.1);
  EXPECT_EQ(got.files_duplicate > 0, wanted.files_duplicate > 0);
  EXPECT_EQ(got.layers[1].replaced, wanted.layers[1].replaced);
  EXPECT_EQ(got.layers[1].deletions, wanted.layers[1].deletions);
  for (std::size_t bucket = 0; bucket < SizeHistogram::kBuckets; ++bucket) {
    EXPECT_NEAR(static_cast<double>(got.sizes.files[bucket]), static_cast<double>(wanted.sizes.files[bucket]),
                2 + 0.05 * static_cast<double>(wanted.files))
        << "bucket " << bucket;
  }
}

TEST(Profiles, no_name_of_the_machine_stays_in_a_profile) {
  const TemporaryFolder folder;
  const std::string text = profile_text(must(profile_image(image_of(folder, {make_tar(many_files())}))));
  for (const char* word : {"secret", "alice", "private", "package-1", "lib7"}) {
    EXPECT_EQ(text.find(word), std::string::npos) << word;
  }
  EXPECT_NE(text.find("usr/share/doc"), std::string::npos);
}

TEST(Profiles, one_seed_gives_one_image_and_another_seed_another) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "shape.json").string();
  put_file(file, profile_text(must(profile_image(image_of(folder, {make_tar(many_files())})))));
  const auto bytes = [&](std::uint64_t seed) {
    // Kept: the store of layers remembers images by their address.
    static std::vector<std::shared_ptr<const BaseImage>> kept;
    kept.push_back(must(load_base_image("profile:" + file, "", seed)));
    return text_of(must(layer_tar(kept.back()->layers[0]->spec)));
  };
  EXPECT_EQ(bytes(1), bytes(1));
  EXPECT_NE(bytes(1), bytes(2));
}

TEST(Profiles, text_reads_back_as_it_was_written) {
  const TemporaryFolder folder;
  const std::string text = profile_text(must(profile_image(image_of(folder, {make_tar(many_files())}))));
  EXPECT_EQ(profile_text(must(parse_profile_text(text, "x"))), text);
}

TEST(Profiles, the_shipped_ones_name_themselves_and_hold_what_they_are_named_for) {
  const std::map<std::string, std::string> folder_of = {{"debian-minimal", "usr/share/doc"},
                                                        {"debian-python-flask", "usr/lib/python3"},
                                                        {"debian-postgresql", "var/lib/postgresql"},
                                                        {"debian-gcc", "usr/lib/gcc"}};
  for (const auto& [name, folder] : folder_of) {
    const std::string file = fmt::format("{}/images/profiles/{}.json", SBENCH_SOURCE_DIR, name);
    const ImageProfile profile = must(parse_profile_text(must(read_text(file)), file));
    EXPECT_EQ(profile.name, name);
    EXPECT_TRUE(std::ranges::any_of(profile.layers, [&](const LayerProfile& layer) {
      return std::ranges::any_of(layer.areas, [&](const AreaProfile& area) { return area.folder.starts_with(folder); });
    })) << name << " has nothing in " << folder;
  }
}

TEST(Profiles, damaged_or_absurd_profiles_are_refused_by_name) {
  const auto area = [](const std::string& folder, const std::string& sizes, const std::string& files) {
    return R"({"schema":"sbench.profile","version":1,"name":"x","made_from":"y","layers":[[{"folder":")" + folder +
           R"(","sizes":)" + sizes + R"(,"files":)" + files +
           R"(,"folders":[],"packs":10,"modes":{},"owners":{}}]]})";
  };
  EXPECT_TRUE(parse_profile_text(area("usr", "[[3,1,2]]", "[1]"), "shape").ok());
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string("{\"schema\":\"other\",\"version\":1}"),
        area("../../etc", "[[3,1,2]]", "[1]"), area("/etc", "[[3,1,2]]", "[1]"), area("usr", "[[3,0,2]]", "[1]"),
        area("usr", "[[3,-1,2]]", "[1]"), area("usr", "[[3,1,99999999999999999]]", "[1]"),
        area("usr", "[[3,1,2]]", "[99999999999]"), area("usr", "7", "[1]"), std::string(100'000, '[')}) {
    const auto parsed = parse_profile_text(bad, "shape");
    ASSERT_FALSE(parsed.ok()) << bad.substr(0, 200);
    EXPECT_NE(parsed.error().what.find("shape"), std::string::npos) << parsed.error().what;
  }
}

}  // namespace
}  // namespace sbench::testing
