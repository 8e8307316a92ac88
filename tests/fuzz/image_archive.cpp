// Image archives. Input: "R" and the archive's bytes, or the parts of one, a line "%%" between them: index or manifest.json,
// manifest, configuration, layers. Parts name each other by @m @c @0 @1 (digests), @M @C @2 @3 (sizes), @d @e (diff_ids),
// and the archive is put together around them: so what the parts say is reached, digests or not.
#include <sys/stat.h>

#include <array>

#include "drivers/base/hash.h"
#include "drivers/base/usage_error.h"
#include "images/image.h"
#include "images/inspect.h"
#include "images/layer_scan.h"
#include "images/profile.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/tar_bytes.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

constexpr std::string_view kSeparator = "\n%%\n";

void replace(std::string& text, std::string_view what, const std::string& with) {
  std::size_t budget = 64;
  for (auto at = text.find(what); at != std::string::npos && budget > 0; at = text.find(what, at + with.size()), --budget) {
    text.replace(at, what.size(), with);
  }
}

std::string digest(const std::string& text) { return "sha256:" + sha256_hex(text); }

std::string archive_of(const std::string& input) {
  std::array<std::string, 5> parts;
  std::size_t at = 0;
  for (std::size_t i = 0; i < parts.size() && at <= input.size(); ++i) {
    const auto end = i + 1 < parts.size() ? std::min(input.find(kSeparator, at), input.size()) : input.size();
    parts[i] = input.substr(at, end - at);
    at = end + kSeparator.size();
  }
  auto& [index, manifest, config, lower, upper] = parts;
  const std::array<const std::string*, 2> layers = {&lower, &upper};
  for (std::string* text : {&config, &manifest, &index}) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      replace(*text, "@" + std::to_string(i), digest(*layers[i]));
      replace(*text, "@" + std::to_string(2 + i), std::to_string(layers[i]->size()));
      replace(*text, i == 0 ? "@d" : "@e", digest(*layers[i]));
    }
    if (text != &config) {
      replace(*text, "@c", text == &index && index.starts_with('[') ? "c.json" : digest(config));
      replace(*text, "@C", std::to_string(config.size()));
    }
    if (text == &index) {
      replace(*text, "@m", digest(manifest));
      replace(*text, "@M", std::to_string(manifest.size()));
    }
  }
  std::string tar = entry_blocks({.name = index.starts_with('[') ? "manifest.json" : "index.json"}, index) +
                    entry_blocks({.name = "oci-layout"}, "{\"imageLayoutVersion\":\"1.0.0\"}") + entry_blocks({.name = "c.json"}, config) +
                    entry_blocks({.name = "l/0.tar"}, lower) + entry_blocks({.name = "l/1.tar"}, upper) +
                    entry_blocks({.name = "l/link", .type = '2', .link = "../l/./0.tar"});
  for (const std::string* blob : {&manifest, &config, &lower, &upper}) {
    tar += entry_blocks({.name = "blobs/sha256/" + sha256_hex(*blob)}, *blob);
  }
  return tar + tar_end();
}

void run(Bytes input) {
  if (input.empty()) {
    return;
  }
  const std::string text = text_of(input);
  const auto file = scratch_folder() / "image.tar";
  put_file(file, text.front() == 'R' ? text.substr(1) : archive_of(text));
  ImageRequest request;
  request.source = file.string();
  request.platform = "linux/amd64";
  request.limits = {1 << 20, 2 << 20, 1 << 16, 16};
  const auto image = load_image(request);
  if (!image.ok()) {
    require(image.error().what.find('\n') == std::string::npos, "an error of several lines: " + image.error().what);
    return;
  }
  require(!image->layers.empty() && image->tar_bytes() <= request.limits.image_bytes_max, "an image beyond its limits was accepted");
  for (const auto& layer : image->layers) {
    const auto tar = layer.tar->map();
    if (!tar.ok() || !scan_layer(*tar, "layer", nullptr, 1000, 4 << 20).ok()) {
      return;  // what follows allows a gigabyte of holes
    }
  }
  if (const auto facts = inspect_image(*image); facts.ok()) {
    static_cast<void>(describe(*image, *facts));
  }
  static_cast<void>(profile_image(*image));
}

std::vector<std::string> seeds() {
  const std::string separator(kSeparator);
  const std::string lower = entry_blocks({.name = "etc/", .type = '5', .mode = 0755}) + entry_blocks({.name = "etc/hostname"}, "one\n") +
                            entry_blocks({.name = "h", .type = '1', .link = "etc/hostname"}) + tar_end();
  const std::string upper = entry_blocks({.name = "etc/.wh.hostname"}) + entry_blocks({.name = "s", .type = '2', .link = "etc"}) + tar_end();
  const std::string config = "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"diff_ids\":[\"@d\",\"@e\"]},\"history\":[{\"created_by\":\"x\"}]}";
  const std::string layers = "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"@0\",\"size\":@2},"
                             "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"@1\",\"size\":@3}]";
  const std::string manifest = "{\"config\":{\"digest\":\"@c\",\"size\":@C}," + layers + "}";
  const std::string index = "{\"manifests\":[{\"digest\":\"@m\",\"size\":@M,\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}}]}";
  const std::string saved = "[{\"Config\":\"@c\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"l/link\",\"l/1.tar\"]}]";
  const std::string parts = separator + config + separator + lower + separator + upper;
  const std::string sparse = "1\n0\n512\n";
  const std::string hole = pax_blocks("GNU.sparse.major", "1") + pax_blocks("GNU.sparse.minor", "0") + pax_blocks("GNU.sparse.name", "hole") +
                           pax_blocks("GNU.sparse.realsize", "9000000000000000000") +
                           entry_blocks({.name = "s"}, sparse + std::string(512 - sparse.size() + 512, 's')) + tar_end();
  return {index + separator + manifest + parts, saved + separator + parts,
          index + separator + manifest + separator + config + separator + hole + separator + upper, "R" + lower};
}

const Target target("image_archive", run, seeds, 150, 32 << 10);

}  // namespace
}  // namespace sbench::fuzz
