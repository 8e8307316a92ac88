// image_test.h: images made byte by byte, so that each fault stands alone.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/layer/tar_writer.h"
#include "images/image.h"
#include "images/oci_archive.h"
#include "tests/support/must.h"
#include "tests/support/support.h"

namespace sbench::testing {

using test::must;

/// Name → content of an archive's or a layer's regular files.
using Files = std::map<std::string, std::string>;

inline std::string make_tar(const Files& files) {
  MemorySink sink;
  TarWriter writer(sink);
  for (const auto& [name, content] : files) {
    TarEntry entry;
    entry.path = name;
    entry.mode = S_IFREG | 0644;
    entry.size_bytes = content.size();
    entry.mtime_ns = 1'600'000'000'123'456'789;
    must(writer.add(entry));
    if (!content.empty()) {
      must(writer.write_data(std::as_bytes(std::span(content.data(), content.size()))));
    }
  }
  must(writer.finish());
  return sink.data();
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

inline std::string pack(const std::string& text, Compression compression) {
  MemorySink sink;
  PackingSink packing(sink, compression);
  must(packing.write(bytes_of(text)));
  must(packing.finish());
  return sink.data();
}

inline void put_file(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  const Fd fd = must(open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  must(write_all(fd.get(), content, path.string()));
}

inline std::string digest(const std::string& text) { return "sha256:" + sha256_hex(text); }

/// The files of a two-layer OCI layout.
inline Files oci_files(const std::vector<std::string>& layers, Compression compression = Compression::gzip,
                       const std::string& platform = "", const std::string& tag = "latest") {
  NewImage image;
  for (const auto& layer : layers) {
    image.layers.push_back(bytes_of(layer));
  }
  image.compression = compression;
  image.platform = platform;
  image.tag = tag;
  Files files;
  for (const auto& member : must(oci_members(image))) {
    files[member.name] = text_of(must(member.content->map()));
  }
  return files;
}

inline Result<Image> load(const std::string& source, const std::string& platform = "", ImageLimits limits = {}) {
  return load_image({source, platform, limits});
}

inline std::string error_of(const Result<Image>& result) { return result.ok() ? "" : result.error().what; }

}  // namespace sbench::testing
