// container_files.h: what the files of the crash workload hold, version by version.
//
// Content is a function of path and version alone, so a mark that names both says what was
// acknowledged, and whoever reads the log needs nothing else.
//   append    record after record at the end of a file, of the image or new
//   patch     ranges of a file of the image overwritten in place: block by block old or new until acknowledged
//   swap      the whole file replaced by rename: one version or another, never a mixture
//   spool     odd versions are there, as swap; even ones are not
//   removal   a file of the image; version 1 is that it is gone
//   rows      an SQLite database of the image: version v has the rows 1 to v
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::crash {

enum class FileKind { append, patch, swap, spool, removal, rows };
[[nodiscard]] const char* to_string(FileKind kind);
[[nodiscard]] FileKind parse_kind(const std::string& word);

/// Path → content of the regular files that a tree shows.
using Manifest = std::map<std::string, std::string>;

/// Two layers as tars, and what they show.
struct ContainerImage {
  std::string base_tar;
  std::string app_tar;
  Manifest base;
  Manifest app;  ///< on the base
};
/// The same bytes at every call.
[[nodiscard]] Result<ContainerImage> make_container_image();

/// A record that is appended, or a whole file that is swapped in.
[[nodiscard]] std::string version_content(const std::string& path, std::uint64_t version);
/// Where version `version` overwrites a file of `size_bytes`, and with what.
struct Patch {
  std::uint64_t offset = 0;
  std::string data;
};
[[nodiscard]] Patch patch_of(const std::string& path, std::uint64_t version, std::uint64_t size_bytes);
/// Text of a database's row.
[[nodiscard]] std::string row_text(std::uint64_t row);

}  // namespace sbench::crash
