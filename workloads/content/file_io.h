// file_io.h: writing, reading and checking files whose bytes are a Content.
//
// What is written is what an application would write: buffered pwrite(2) in
// pieces of 256 KiB. Nothing here syncs unless its name says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "workloads/content/content.h"

namespace sbench {

/// Writes the bytes [offset, offset + size) of `content` at `offset`.
[[nodiscard]] Status write_range(int fd, const Content& content, std::uint64_t offset, std::uint64_t size_bytes,
                                 const std::filesystem::path& shown);
/// pwrite of all of `data`.
[[nodiscard]] Status write_bytes(int fd, std::span<const std::byte> data, std::uint64_t offset,
                                 const std::filesystem::path& shown);
/// Creates a new file (EEXIST when it is there) with the first `size_bytes` of `content`.
[[nodiscard]] Status make_file(const std::filesystem::path& path, const Content& content, std::uint64_t size_bytes,
                               unsigned mode = 0644);
[[nodiscard]] Status fsync_fd(int fd, const std::filesystem::path& shown);
/// Opens `path` (a file or a directory) read-only and fsyncs it.
[[nodiscard]] Status fsync_path(const std::filesystem::path& path);
/// Reads to the end and forgets the data; returns the bytes read.
[[nodiscard]] Result<std::uint64_t> read_through(const std::filesystem::path& path);

/// Whether a file holds exactly `content`.
[[nodiscard]] Status verify_bytes(const std::filesystem::path& path, std::span<const std::byte> content);

/// A range of a file that differs from the file's base content.
struct Patch {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  Content content;
};

/// Whether a file is `size_bytes` long, and is `base` except for `patch`. Up to 16 MiB
/// every byte is compared; above, both ends, the edges of the patch and a sample of
/// 64 ranges of 64 KiB. An error names the file and the first wrong range.
[[nodiscard]] Status verify_file(const std::filesystem::path& path, const Content& base, std::uint64_t size_bytes,
                                 const std::optional<Patch>& patch = std::nullopt);

}  // namespace sbench
