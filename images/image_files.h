// image_files.h: the named files that make up an image, whether they lie in a directory or in a tar.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/compression.h"

namespace sbench {

/// One file, open for reading from its start.
struct ImageFile {
  std::unique_ptr<ByteSource> source;
  std::uint64_t size_bytes = 0;
};

class ImageFiles {
 public:
  virtual ~ImageFiles() = default;
  /// The file called `name` ("blobs/sha256/…"); nothing when there is none. Links are followed
  /// within the image. EINVAL for a name or a link that leads out of it.
  [[nodiscard]] virtual Result<std::optional<ImageFile>> find(const std::string& name) = 0;

  /// A directory; files are read where they lie.
  [[nodiscard]] static Result<std::unique_ptr<ImageFiles>> open_directory(const std::filesystem::path& path);
  /// A tar, itself plain, gzip or zstd; held in memory. EFBIG beyond `bytes_max` of content.
  [[nodiscard]] static Result<std::unique_ptr<ImageFiles>> open_archive(const std::filesystem::path& path,
                                                                        std::uint64_t bytes_max);
};

/// What a stream that starts with these bytes is: gzip, zstd, else none.
[[nodiscard]] Compression compression_of(std::span<const std::byte> start);
/// gzip or zstd when the file starts as such a stream does, else none.
[[nodiscard]] Result<Compression> detect_compression(const std::filesystem::path& path);

}  // namespace sbench
