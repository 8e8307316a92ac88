// profile.h: an image's shape without its content, small enough to share.
//
// A profile keeps, for each layer and each area (a folder near the root), how many
// files, folders and links there are, how big, how deep, how compressible, and which
// modes and owners they have. Names that are not part of every Linux system are
// replaced by numbers; no content and no file name leaves the machine.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "images/image.h"

namespace sbench {

/// Files of one size class: [2^(n/2), 2^((n+1)/2)) bytes; class 0 holds the empty ones.
struct SizeClass {
  unsigned size_class = 0;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

struct AreaProfile {
  std::string folder;                      ///< "usr/share/doc"; "" for the root itself
  std::vector<SizeClass> sizes;            ///< ascending
  std::vector<std::uint64_t> folders;      ///< [n]: sub-folders n+1 levels below `folder`
  std::vector<std::uint64_t> files;        ///< [n]: files, links and devices n levels below `folder`
  std::uint64_t symlinks = 0;
  std::uint64_t hard_links = 0;
  std::uint64_t duplicates = 0;            ///< files with the content of another file of the image
  std::uint64_t replaced = 0;              ///< files that stand for one of a layer below
  std::uint64_t deletions = 0;             ///< whiteouts and opaque folders
  unsigned compressible_percent = 0;       ///< what zstd saves on the area's content
  std::map<std::string, std::uint64_t> modes;   ///< "0644" → files that have it
  std::map<std::string, std::uint64_t> owners;  ///< "0:0" → files that have it
};

struct LayerProfile {
  std::vector<AreaProfile> areas;  ///< sorted by folder
};

struct ImageProfile {
  std::string name;
  std::string made_from;  ///< "oci-archive", …
  std::vector<LayerProfile> layers;  ///< lowest first
};

[[nodiscard]] unsigned size_class_of(std::uint64_t size_bytes);

[[nodiscard]] Result<ImageProfile> profile_image(const Image& image);

/// JSON, one area a line.
[[nodiscard]] std::string profile_text(const ImageProfile& profile);
/// EINVAL naming `shown` and what is wrong.
[[nodiscard]] Result<ImageProfile> parse_profile_text(const std::string& text, const std::string& shown);

}  // namespace sbench
