// Images that are as they should be, in every form sbench reads.
#include <nlohmann/json.hpp>

#include "drivers/layer/apply.h"
#include "drivers/layer/tree.h"
#include "tests/images/image_test.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kBase = make_tar({{"etc/hostname", "one\n"}, {"usr/bin/tool", std::string(300'000, 'x')}});
const std::string kTop = make_tar({{"etc/hostname", "two\n"}, {"srv/app", "code"}});

void expect_both_layers(const Result<Image>& image) {
  ASSERT_TRUE(image.ok()) << error_of(image);
  ASSERT_EQ(image->layers.size(), 2u);
  EXPECT_EQ(text_of(must(image->layers[0].tar->map())), kBase);
  EXPECT_EQ(text_of(must(image->layers[1].tar->map())), kTop);
  EXPECT_EQ(image->layers[0].diff_id, digest(kBase));
  EXPECT_EQ(image->tar_bytes(), kBase.size() + kTop.size());
}

class EveryCompression : public ::testing::TestWithParam<Compression> {};
INSTANTIATE_TEST_SUITE_P(Images, EveryCompression,
                         ::testing::Values(Compression::none, Compression::gzip, Compression::zstd),
                         [](const auto& each) { return to_string(each.param); });

TEST_P(EveryCompression, an_oci_archive_gives_its_layers_back) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "app.tar";
  put_file(path, make_tar(oci_files({kBase, kTop}, GetParam())));
  const auto image = load(path.string());
  expect_both_layers(image);
  EXPECT_EQ(image->kind, "oci-archive");
  EXPECT_EQ(image->name, "latest");
  EXPECT_EQ(image->platform, host_platform());
  EXPECT_EQ(image->layers[0].compression, GetParam());
}

TEST_P(EveryCompression, the_archive_itself_may_be_compressed) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "app.tar.z";
  put_file(path, pack(make_tar(oci_files({kBase, kTop})), GetParam()));
  expect_both_layers(load(path.string()));
}

TEST_P(EveryCompression, packing_and_unpacking_give_the_same_bytes_whatever_the_size) {
  for (const std::size_t size : {0u, 1u, 511u, 1u << 20, (3u << 20) + 17u}) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) {
      text += static_cast<char>((i * i) >> 5);
    }
    const std::string packed = pack(text, GetParam());
    EXPECT_EQ(packed, pack(text, GetParam()));
    MemorySource source(packed);
    UnpackingSource unpacking(source, GetParam(), "test");
    MemorySink sink;
    ASSERT_EQ(must(copy_stream(unpacking, sink, UINT64_MAX, "test")), size);
    EXPECT_EQ(sink.data(), text);
  }
}

TEST(Images, an_oci_layout_directory_is_read_where_it_lies) {
  const TemporaryFolder folder;
  for (const auto& [name, content] : oci_files({kBase, kTop})) {
    put_file(folder.path() / "layout" / name, content);
  }
  const auto image = load((folder.path() / "layout").string());
  expect_both_layers(image);
  EXPECT_EQ(image->kind, "oci-layout");
}

Files docker_save_files(const std::string& first_layer) {
  const std::string config = json{{"os", "linux"},
                                  {"architecture", "amd64"},
                                  {"rootfs", {{"type", "layers"}, {"diff_ids", {digest(kBase), digest(kTop)}}}},
                                  {"history", {{{"created_by", "FROM base"}}}}}
                                 .dump();
  const std::string name = sha256_hex(config) + ".json";
  const json manifest = {{{"Config", name}, {"RepoTags", {"app:1.0"}}, {"Layers", {"aa/layer.tar", "bb/layer.tar"}}}};
  return {{"manifest.json", manifest.dump()}, {name, config}, {"aa/layer.tar", first_layer}, {"bb/layer.tar", kTop}};
}

TEST(Images, what_docker_save_wrote_is_read) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "saved.tar";
  for (const auto compression : {Compression::none, Compression::gzip}) {
    put_file(path, make_tar(docker_save_files(pack(kBase, compression))));
    const auto image = load(path.string());
    expect_both_layers(image);
    EXPECT_EQ(image->kind, "docker-save");
    EXPECT_EQ(image->name, "app:1.0");
    EXPECT_EQ(image->instructions, std::vector<std::string>{"FROM base"});
    expect_both_layers(load(path.string() + "#1.0"));
  }
}

TEST(Images, layers_that_are_links_to_each_other_are_followed_within_the_archive) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "saved.tar";
  auto files = docker_save_files(kBase);
  files["cc/real.tar"] = files["aa/layer.tar"];
  files.erase("aa/layer.tar");
  MemorySink sink;
  TarWriter writer(sink);
  for (const auto& [name, content] : files) {
    TarEntry entry{.path = name, .mode = S_IFREG | 0644, .size_bytes = content.size()};
    must(writer.add(entry));
    must(writer.write_data(bytes_of(content)));
  }
  must(writer.add({.path = "aa/layer.tar", .mode = S_IFLNK | 0777, .link_target = "../cc/real.tar"}));
  must(writer.finish());
  put_file(path, sink.data());
  expect_both_layers(load(path.string()));
}

/// Two images in one layout: their blobs together, both in one index.
Files joined(const Files& one, const Files& two) {
  Files all = one;
  all.insert(two.begin(), two.end());
  json index = json::parse(one.at("index.json"));
  index["manifests"].push_back(json::parse(two.at("index.json"))["manifests"][0]);
  all["index.json"] = index.dump();
  return all;
}

TEST(Images, a_multi_platform_index_gives_the_platform_asked_for) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "multi.tar";
  put_file(path, make_tar(joined(oci_files({kTop}, Compression::gzip, "linux/riscv64"), oci_files({kBase, kTop}))));
  expect_both_layers(load(path.string()));
  const auto other = load(path.string(), "linux/riscv64");
  ASSERT_TRUE(other.ok()) << error_of(other);
  EXPECT_EQ(other->layers.size(), 1u);
  EXPECT_EQ(other->platform, "linux/riscv64");
  const auto none = load(path.string(), "plan9/mips");
  ASSERT_FALSE(none.ok());
  EXPECT_NE(error_of(none).find("riscv64"), std::string::npos) << error_of(none);
}

TEST(Images, a_tag_after_the_file_name_chooses_an_image) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "two.tar";
  put_file(path, make_tar(joined(oci_files({kTop}, Compression::gzip, "", "small"),
                                 oci_files({kBase, kTop}, Compression::gzip, "", "big"))));
  expect_both_layers(load(path.string() + "#big"));
  EXPECT_EQ(load(path.string() + "#small")->layers.size(), 1u);
  EXPECT_NE(error_of(load(path.string() + "#huge")).find("tagged huge"), std::string::npos);
}

TEST(Images, an_index_may_lead_to_another_index) {
  Files files = oci_files({kBase, kTop});
  const std::string inner = files["index.json"];
  files["blobs/sha256/" + sha256_hex(inner)] = inner;
  files["index.json"] = json{{"schemaVersion", 2},
                             {"manifests",
                              {{{"mediaType", "application/vnd.oci.image.index.v1+json"},
                                {"digest", digest(inner)},
                                {"size", inner.size()}}}}}
                            .dump();
  const TemporaryFolder folder;
  put_file(folder.path() / "nested.tar", make_tar(files));
  expect_both_layers(load((folder.path() / "nested.tar").string()));
}

TEST(Images, a_layer_that_repeats_is_held_once) {
  const TemporaryFolder folder;
  put_file(folder.path() / "app.tar", make_tar(oci_files({kBase, kTop, kBase})));
  const auto image = load((folder.path() / "app.tar").string());
  ASSERT_TRUE(image.ok()) << error_of(image);
  ASSERT_EQ(image->layers.size(), 3u);
  EXPECT_EQ(image->layers[0].tar, image->layers[2].tar);
}

TEST(Images, a_directory_of_this_machine_becomes_a_base_layer_with_the_same_tree) {
  if (!is_root()) {
    GTEST_SKIP() << "needs root to restore owners";
  }
  const TemporaryFolder folder;
  const auto source = folder.path() / "root";
  put_file(source / "etc/hostname", "here\n");
  put_file(source / "usr/bin/big", std::string(200'000, 'b'));
  fs::create_hard_link(source / "usr/bin/big", source / "usr/bin/same");
  fs::create_symlink("../etc/hostname", source / "usr/name");
  ASSERT_EQ(::chmod((source / "usr/bin/big").c_str(), 04755), 0);
  ASSERT_EQ(::mknod((source / "pipe").c_str(), S_IFIFO | 0640, 0), 0);
  const auto image = load("host:" + source.string());
  ASSERT_TRUE(image.ok()) << error_of(image);
  EXPECT_EQ(image->kind, "host");
  EXPECT_EQ(image->name, "root");
  const auto target = folder.path() / "target";
  fs::create_directory(target);
  MemorySource tar(must(image->layers.at(0).tar->map()));
  must(apply_layer(tar, target, WhiteoutStyle::erase).ok() ? Status() : Status(plain_error(EIO, "apply")));
  EXPECT_EQ(compare_trees(must(read_tree(source)), must(read_tree(target))), std::vector<std::string>());
}

TEST(Images, a_bare_layer_tar_is_a_base_layer) {
  const TemporaryFolder folder;
  put_file(folder.path() / "root.tar.gz", pack(kBase, Compression::gzip));
  const auto image = load("tar:" + (folder.path() / "root.tar.gz").string());
  ASSERT_TRUE(image.ok()) << error_of(image);
  EXPECT_EQ(image->layers.at(0).diff_id, digest(kBase));
}

}  // namespace
}  // namespace sbench::testing
