// inspect.h: what an image is made of: layers, sizes, depth, duplicates.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "images/image.h"
#include "images/layer_scan.h"

namespace sbench {

/// Files by size: bucket 0 holds empty ones, bucket n those of [2^(n-1), 2^n) bytes.
struct SizeHistogram {
  static constexpr std::size_t kBuckets = 48;
  std::array<std::uint64_t, kBuckets> files{};
  std::array<std::uint64_t, kBuckets> bytes{};

  [[nodiscard]] static std::size_t bucket_of(std::uint64_t size_bytes);
  void add(std::uint64_t size_bytes) {
    ++files[bucket_of(size_bytes)];
    bytes[bucket_of(size_bytes)] += size_bytes;
  }
};

struct LayerFacts {
  std::string diff_id;
  Compression compression = Compression::none;
  std::uint64_t bytes_stored = 0;
  std::uint64_t bytes_tar = 0;
  std::uint64_t bytes_content = 0;
  std::uint64_t files = 0;
  std::uint64_t folders = 0;
  std::uint64_t symlinks = 0;
  std::uint64_t hard_links = 0;
  std::uint64_t others = 0;     ///< devices and fifos
  std::uint64_t replaced = 0;   ///< files that a layer below has too
  std::uint64_t deletions = 0;  ///< whiteouts and opaque marks
};

struct ImageFacts {
  std::vector<LayerFacts> layers;
  // Of all layers' regular files:
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  SizeHistogram sizes;
  std::uint64_t depth_max = 0;   ///< components of the deepest path
  double depth_mean = 0;         ///< of the regular files' paths
  std::uint64_t files_duplicate = 0;  ///< with the size and content of another one, the first not counted
  std::uint64_t bytes_duplicate = 0;
  std::uint64_t bytes_hidden = 0;  ///< in files that a layer above replaces or deletes
};

/// Scans all layers; `scanned`, when not null, receives what was found, lowest layer first.
[[nodiscard]] Result<ImageFacts> inspect_image(const Image& image, std::vector<ScannedLayer>* scanned = nullptr);

/// The facts as text for people.
[[nodiscard]] std::string describe(const Image& image, const ImageFacts& facts);

}  // namespace sbench
