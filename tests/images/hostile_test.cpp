// Images that are damaged, lie, or mean harm: each is one clear error, and nothing outside is touched.
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "drivers/base/rng.h"
#include "drivers/base/usage_error.h"
#include "images/image_files.h"
#include "images/layer_scan.h"
#include "tests/images/image_test.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kBase = make_tar({{"etc/hostname", "one\n"}, {"usr/bin/tool", std::string(20'000, 'x')}});
const std::string kTop = make_tar({{"srv/app", "code"}});

/// Loads an archive of `files` and returns the error; a test failure when there is none.
std::string refusal(const Files& files, ImageLimits limits = {}) {
  const TemporaryFolder folder;
  put_file(folder.path() / "app.tar", make_tar(files));
  const auto image = load((folder.path() / "app.tar").string(), "", limits);
  EXPECT_FALSE(image.ok());
  const std::string text = error_of(image);
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_NE(text.find("app.tar"), std::string::npos) << text;
  return text;
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

/// The manifest with its digest, rewritten by `change`; the index follows.
Files with_manifest(Files files, const std::function<void(json&)>& change) {
  json index = json::parse(files.at("index.json"));
  json& pointer = index["manifests"][0];
  json manifest = json::parse(files.at("blobs/sha256/" + pointer["digest"].get<std::string>().substr(7)));
  change(manifest);
  const std::string text = manifest.dump();
  pointer["digest"] = digest(text);
  pointer["size"] = text.size();
  files["blobs/sha256/" + sha256_hex(text)] = text;
  files["index.json"] = index.dump();
  return files;
}

std::string layer_blob(const Files& files, std::size_t number) {
  std::string name;
  with_manifest(files, [&](json& manifest) {
    name = "blobs/sha256/" + manifest["layers"][number]["digest"].get<std::string>().substr(7);
  });
  return name;
}

TEST(HostileImages, a_layer_whose_bytes_changed_is_named) {
  auto files = oci_files({kBase, kTop}, Compression::none);
  files[layer_blob(files, 1)][600] ^= 1;
  const std::string text = refusal(files);
  EXPECT_SAYS(text, "layer 2 of 2");
  EXPECT_SAYS(text, "wrong digest");
}

TEST(HostileImages, a_layer_of_another_size_is_named) {
  auto files = oci_files({kBase, kTop});
  files[layer_blob(files, 0)] += "more";
  const std::string text = refusal(files);
  EXPECT_SAYS(text, "layer 1 of 2");
  EXPECT_SAYS(text, "the manifest says");
}

TEST(HostileImages, a_layer_that_unpacks_to_something_else_is_named) {
  const auto honest = oci_files({kBase, kTop});
  auto files = with_manifest(honest, [&](json& manifest) {
    const std::string other = pack(make_tar({{"evil", "x"}}), Compression::gzip);
    manifest["layers"][1]["digest"] = digest(other);
    manifest["layers"][1]["size"] = other.size();
  });
  const std::string other = pack(make_tar({{"evil", "x"}}), Compression::gzip);
  files["blobs/sha256/" + sha256_hex(other)] = other;
  const std::string text = refusal(files);
  EXPECT_SAYS(text, "layer 2 of 2");
  EXPECT_SAYS(text, "wrong diff_id");
}

TEST(HostileImages, an_unknown_media_type_is_named) {
  const std::string text = refusal(with_manifest(oci_files({kBase, kTop}), [](json& manifest) {
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+xz";
  }));
  EXPECT_SAYS(text, "layer 1 of 2");
  EXPECT_SAYS(text, "tar+xz");
}

TEST(HostileImages, a_media_type_that_lies_about_the_compression_is_refused) {
  const std::string text = refusal(with_manifest(oci_files({kBase, kTop}, Compression::none), [](json& manifest) {
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd";
  }));
  EXPECT_SAYS(text, "layer 1 of 2");
  EXPECT_SAYS(text, "no zstd stream");
}

TEST(HostileImages, digests_that_are_paths_or_of_other_algorithms_are_refused) {
  for (const char* bad : {"sha256:../../../../etc/passwd", "sha512:abc", "", "sha256:ABCDEF", "/etc/passwd"}) {
    const std::string text = refusal(
        with_manifest(oci_files({kBase}), [&](json& manifest) { manifest["layers"][0]["digest"] = bad; }));
    EXPECT_SAYS(text, "64 hexadecimal digits");
  }
}

TEST(HostileImages, a_missing_blob_is_named) {
  auto files = oci_files({kBase, kTop});
  const std::string name = layer_blob(files, 1);
  files.erase(name);
  EXPECT_SAYS(refusal(files), name + " is missing");
}

TEST(HostileImages, documents_that_are_no_json_or_the_wrong_json_are_named) {
  auto files = oci_files({kBase});
  for (const std::string& bad : {std::string("{"), std::string(), std::string("[]"), std::string("{\"manifests\":7}"),
                                 std::string("{\"manifests\":[{\"digest\":7}]}"), std::string(100'000, '['),
                                 std::string("{\"manifests\":[{\"digest\":\"x\",\"size\":-1e99}]}"),
                                 std::string("\xff\xfe{}")}) {
    files["index.json"] = bad;
    EXPECT_SAYS(refusal(files), "index.json");
  }
  files["index.json"] = "{\"manifests\":[]}";
  EXPECT_SAYS(refusal(files), "it holds: nothing");
}

TEST(HostileImages, more_or_fewer_diff_ids_than_layers_are_refused) {
  EXPECT_SAYS(refusal(with_manifest(oci_files({kBase, kTop}),
                                    [](json& manifest) { manifest["layers"].erase(manifest["layers"].begin()); })),
              "1 layers, but 2 diff_ids");
  EXPECT_SAYS(refusal(with_manifest(oci_files({kBase}), [](json& manifest) { manifest["layers"] = json::array(); })),
              "no layers");
}

TEST(HostileImages, an_index_that_leads_to_itself_ends) {
  Files files = oci_files({kBase});
  // An index cannot hold its own digest; one nested too deeply stands for it.
  std::string inner = files["index.json"];
  for (int depth = 0; depth < 6; ++depth) {
    files["blobs/sha256/" + sha256_hex(inner)] = inner;
    inner = json{{"manifests", {{{"digest", digest(inner)}, {"size", inner.size()}}}}}.dump();
  }
  files["index.json"] = inner;
  EXPECT_SAYS(refusal(files), "nested deeper");
}

TEST(HostileImages, tar_bombs_stop_at_the_cap_and_are_named) {
  const std::string bomb = make_tar({{"zeros", std::string(64 << 20, '\0')}});
  const auto files = oci_files({kTop, bomb});
  ImageLimits limits;
  limits.layer_bytes_max = kMiB;
  const std::string text = refusal(files, limits);
  EXPECT_SAYS(text, "layer 2 of 2");
  EXPECT_SAYS(text, "larger than the limit of 1.0 MiB");
  limits = {};
  limits.image_bytes_max = 2 * kMiB;
  EXPECT_SAYS(refusal(files, limits), "limit");
  limits = {};
  limits.layers_max = 1;
  EXPECT_SAYS(refusal(files, limits), "more than the limit of 1");
  limits = {};
  limits.document_bytes_max = 10;
  EXPECT_SAYS(refusal(files, limits), "index.json");
}

TEST(HostileImages, names_that_climb_out_of_the_archive_are_refused) {
  auto files = oci_files({kBase});
  files["../../../tmp/sbench-escape"] = "x";
  EXPECT_SAYS(refusal(files), "leads out of the archive");
  EXPECT_FALSE(fs::exists("/tmp/sbench-escape"));
}

TEST(HostileImages, docker_save_names_that_climb_out_are_refused) {
  for (const char* bad : {"../../../../etc/passwd", "a/../../b"}) {
    const json manifest = {{{"Config", bad}, {"Layers", {"layer.tar"}}}};
    EXPECT_SAYS(refusal({{"manifest.json", manifest.dump()}, {"layer.tar", kBase}}), "leads out of the image");
  }
  // An absolute name means a file of the archive, never one of this machine.
  const json manifest = {{{"Config", "/etc/passwd"}, {"Layers", {"layer.tar"}}}};
  EXPECT_SAYS(refusal({{"manifest.json", manifest.dump()}, {"layer.tar", kBase}}), "is missing");
}

TEST(HostileImages, links_of_a_layout_directory_lead_nowhere_outside) {
  const TemporaryFolder folder;
  const auto layout = folder.path() / "layout";
  const auto files = oci_files({kBase});
  for (const auto& [name, content] : files) {
    put_file(layout / name, content);
  }
  const std::string blob = layer_blob(files, 0);
  put_file(folder.path() / "outside", files.at(blob));
  fs::remove(layout / blob);
  fs::create_symlink(folder.path() / "outside", layout / blob);
  EXPECT_SAYS(error_of(load(layout.string())), "symbolic link");
  // A folder that is a link out of the layout.
  fs::rename(layout / "blobs", folder.path() / "blobs");
  fs::create_symlink(folder.path() / "blobs", layout / "blobs");
  EXPECT_FALSE(load(layout.string()).ok());
  fs::remove(layout / "index.json");
  ASSERT_EQ(::mkfifo((layout / "index.json").c_str(), 0600), 0);
  EXPECT_SAYS(error_of(load(layout.string())), "no regular file");
}

TEST(HostileImages, links_in_an_archive_that_go_in_circles_end) {
  MemorySink sink;
  TarWriter writer(sink);
  must(writer.add({.path = "index.json", .mode = S_IFLNK | 0777, .link_target = "other"}));
  must(writer.add({.path = "other", .mode = S_IFLNK | 0777, .link_target = "index.json"}));
  must(writer.finish());
  const TemporaryFolder folder;
  put_file(folder.path() / "app.tar", sink.data());
  EXPECT_SAYS(error_of(load((folder.path() / "app.tar").string())), "too many links");
}

TEST(HostileImages, an_archive_cut_anywhere_is_refused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "app.tar";
  for (const auto outer : {Compression::none, Compression::gzip, Compression::zstd}) {
    const std::string whole = pack(make_tar(oci_files({kBase, kTop})), outer);
    // The two closing blocks of a tar may be missing; nothing else may.
    const std::size_t needed = whole.size() - (outer == Compression::none ? 1024 : 12);
    Rng rng(7, "cuts");
    for (int i = 0; i < 60; ++i) {
      const std::size_t length = rng.below(needed);
      put_file(path, whole.substr(0, length));
      EXPECT_FALSE(load(path.string()).ok()) << to_string(outer) << " cut at " << length << " of " << whole.size();
    }
  }
}

TEST(HostileImages, no_flipped_bit_ever_changes_what_is_read) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "app.tar";
  const std::string whole = make_tar(oci_files({kBase, kTop}));
  Rng rng(20261126, "flips");
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    damaged[rng.below(damaged.size())] ^= static_cast<char>(1u << rng.below(8));
    put_file(path, damaged);
    const auto image = load(path.string());
    if (!image.ok()) {
      ++refused;
      continue;
    }
    ASSERT_EQ(image->layers.size(), 2u);
    EXPECT_EQ(text_of(must(image->layers[0].tar->map())), kBase);
    EXPECT_EQ(text_of(must(image->layers[1].tar->map())), kTop);
  }
  EXPECT_GT(refused, 150);
}

TEST(HostileImages, what_is_no_image_says_what_would_be) {
  const TemporaryFolder folder;
  put_file(folder.path() / "plain.tar", kBase);
  EXPECT_SAYS(error_of(load((folder.path() / "plain.tar").string())), "tar:");
  EXPECT_SAYS(error_of(load(folder.path().string())), "host:");
  EXPECT_SAYS(error_of(load((folder.path() / "missing").string())), "there is no image");
  EXPECT_SAYS(error_of(load("host:" + (folder.path() / "plain.tar").string())), "no directory");
  put_file(folder.path() / "text", "root:x:0:0:root:/root:/bin/bash\n");
  EXPECT_SAYS(error_of(load((folder.path() / "text").string())), "is no image: neither an OCI archive nor a docker-save tar");
  put_file(folder.path() / "empty", "");
  EXPECT_FALSE(load((folder.path() / "empty").string()).ok());
  EXPECT_THROW((void)load("x", "amd64"), UsageError);
}

TEST(HostileImages, a_layer_that_would_climb_out_is_named_by_entry) {
  for (const char* bad : {"../etc/passwd", "a/../../b"}) {
    const auto scanned = scan_layer(bytes_of(make_tar({{bad, "x"}})), "layer 1");
    ASSERT_FALSE(scanned.ok());
    EXPECT_SAYS(scanned.error().what, "layer 1");
    EXPECT_SAYS(scanned.error().what, bad);
  }
  for (const char* bad : {"a/.wh.", "a/.wh..", ".wh..."}) {
    const auto scanned = scan_layer(bytes_of(make_tar({{bad, ""}})), "layer 1");
    ASSERT_FALSE(scanned.ok()) << bad;
    EXPECT_EQ(scanned.error().what, fmt::format("layer 1: the whiteout {} names nothing that could be deleted", bad));
  }
  const auto many = scan_layer(bytes_of(make_tar({{"a", ""}, {"b", ""}, {"c", ""}})), "layer 1", nullptr, 2);
  ASSERT_FALSE(many.ok());
  EXPECT_EQ(many.error().code, EFBIG);
}

TEST(HostileImages, a_scan_lists_whiteouts_apart_from_entries) {
  const auto scanned = scan_layer(
      bytes_of(make_tar({{"a/.wh.gone", ""}, {"b/.wh..wh..opq", ""}, {"c/.wh..wh.plnk", ""}, {"d", "text"}})), "layer");
  ASSERT_TRUE(scanned.ok()) << scanned.error().what;
  EXPECT_EQ(scanned->deletions, std::vector<std::string>{"a/gone"});
  EXPECT_EQ(scanned->opaques, std::vector<std::string>{"b"});
  ASSERT_EQ(scanned->entries.size(), 1u);
  EXPECT_EQ(scanned->entries[0].path, "d");
  EXPECT_EQ(scanned->entries[0].mtime_ns, 1'600'000'000'123'456'789);
  EXPECT_EQ(scanned->content_bytes, 4u);
}

}  // namespace
}  // namespace sbench::testing
