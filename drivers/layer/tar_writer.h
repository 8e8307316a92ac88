// tar_writer.h: packing files as an OCI layer tar (pax, uncompressed), through libarchive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

/// Metadata of one tar entry. `path` has no leading slash and no trailing one.
struct TarEntry {
  std::string path;
  std::uint32_t mode = 0;  ///< file type and permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t device_number = 0;
  std::string link_target;       ///< symbolic links
  std::string hard_link_target;  ///< not empty: this entry is a hard link to that path
  std::map<std::string, std::string> xattrs;
};

/// Writes entries in the order given. Identical calls give identical bytes.
class TarWriter {
 public:
  explicit TarWriter(ByteSink& sink);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  /// Adds an entry. For a regular file with size_bytes > 0, write_data() calls
  /// totalling exactly size_bytes must follow before the next add().
  [[nodiscard]] Status add(const TarEntry& entry);
  [[nodiscard]] Status write_data(std::span<const std::byte> data);
  /// Adds the file at `file_path` (lstat, xattrs, content) under `entry_path`.
  /// `hard_links` maps (device, inode) to the first path of a multiply linked file.
  using HardLinks = std::map<std::pair<std::uint64_t, std::uint64_t>, std::string>;
  [[nodiscard]] Status add_file(const std::filesystem::path& file_path, const std::string& entry_path,
                                HardLinks& hard_links);
  /// add_file for `name` of the directory `directory_fd`. Sockets, which tars cannot hold, are left out by both.
  [[nodiscard]] Status add_file_at(int directory_fd, const std::string& name, const std::string& entry_path,
                                   HardLinks& hard_links);
  /// Adds the `.wh.` marker that deletes `path`, or, with `opaque`, the one that empties directory `path`.
  [[nodiscard]] Status add_whiteout(const std::string& path, bool opaque = false);
  /// Writes the end-of-archive blocks. No calls after it.
  [[nodiscard]] Status finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sbench
