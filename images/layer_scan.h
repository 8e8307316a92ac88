// layer_scan.h: what a layer tar holds, entry by entry, checked as if it were unpacked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/base/units.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

struct ScannedEntry {
  std::string path;        ///< from the layer's root, no leading slash; "." for the root itself
  std::uint32_t mode = 0;  ///< file type and permission bits; 0 for hard links
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t device_number = 0;
  std::string link_target;       ///< symbolic links
  std::string hard_link_target;  ///< not empty: another name of that path
  std::map<std::string, std::string> xattrs;
  std::uint64_t content_hash = 0;  ///< XXH3 of regular files
};

struct ScannedLayer {
  std::vector<ScannedEntry> entries;    ///< in the tar's order, without whiteouts
  std::vector<std::string> deletions;   ///< paths whiteouts name
  std::vector<std::string> opaques;     ///< directories whose lower entries are hidden
  std::uint64_t content_bytes = 0;
};

constexpr std::size_t kLayerEntriesMax = 2'000'000;

/// Reads a whole uncompressed layer tar. Content of regular files, holes filled, goes to `content`
/// in the entries' order when it is not null. EINVAL for a damaged tar, a name or hard link that
/// leads out of the layer, a whiteout that names nothing; EFBIG for more than `entries_max` entries, or more than `holes_max` bytes
/// of content that the tar does not hold: a few bytes of it can claim any number of holes. `shown` names the layer.
[[nodiscard]] Result<ScannedLayer> scan_layer(std::span<const std::byte> tar, const std::string& shown,
                                              ByteSink* content = nullptr, std::size_t entries_max = kLayerEntriesMax,
                                              std::uint64_t holes_max = kGiB);

}  // namespace sbench
