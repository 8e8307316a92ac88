// oci_archive.h: writing an image as an OCI archive: a tar of an OCI image layout.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/layer/compression.h"
#include "drivers/layer/memory_file.h"

namespace sbench {

struct NewImage {
  std::vector<std::span<const std::byte>> layers;  ///< uncompressed tars, lowest first
  Compression compression = Compression::gzip;
  std::string tag = "latest";
  std::string platform;                   ///< empty: this machine's
  std::vector<std::string> instructions;  ///< one for each layer, or none
};

/// One file of the layout.
struct ArchiveMember {
  std::string name;  ///< "blobs/sha256/…"
  std::shared_ptr<MemoryFile> content;
};

/// The files of the layout; equal images give equal bytes.
[[nodiscard]] Result<std::vector<ArchiveMember>> oci_members(const NewImage& image);
/// Packs `members` as a tar in `path`, replacing it.
[[nodiscard]] Status write_archive(const std::vector<ArchiveMember>& members, const std::filesystem::path& path);

}  // namespace sbench
