// manifest.h: the JSON documents of an image as plain values: OCI image specification 1.1
// (index, manifest, configuration), Docker's schema 2, and docker-save's manifest.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// What points at a blob: its media type, digest and size.
struct Descriptor {
  std::string media_type;
  std::string digest;  ///< "sha256:" and 64 hexadecimal digits
  std::uint64_t size_bytes = 0;
  std::string platform;  ///< "os/architecture[/variant]"; empty when not stated
  std::string tag;       ///< annotation org.opencontainers.image.ref.name
};

struct ManifestDocument {
  bool is_index = false;
  std::vector<Descriptor> manifests;  ///< of an index
  Descriptor config;                  ///< of a manifest
  std::vector<Descriptor> layers;     ///< of a manifest, lowest first
};

struct ConfigDocument {
  std::string platform;
  std::vector<std::string> diff_ids;
  std::vector<std::string> instructions;
};

/// One image of docker-save's manifest.json; file names within the archive.
struct SavedImage {
  std::string config;
  std::vector<std::string> tags;
  std::vector<std::string> layers;
};

// All: EINVAL naming `shown` and what is wrong with it.

/// An index or a manifest, whichever it is.
[[nodiscard]] Result<ManifestDocument> parse_manifest(const std::string& text, const std::string& shown);
[[nodiscard]] Result<ConfigDocument> parse_config(const std::string& text, const std::string& shown);
[[nodiscard]] Result<std::vector<SavedImage>> parse_saved(const std::string& text, const std::string& shown);

/// The 64 digits of a "sha256:…" digest; EINVAL for other algorithms and malformed ones.
[[nodiscard]] Result<std::string> sha256_digits(const std::string& digest, const std::string& shown);

}  // namespace sbench
