// image.h: a synthetic application image: base, packages, dependencies, code, configuration.
//
// A model, not bytes on a disk: every path with its metadata and the seed of its
// content. The same LayerSpec gives the same layer on every machine. Shapes follow
// what Debian-based application images look like: file sizes are log-normal within
// an area (/usr/bin, /usr/share/doc, site-packages, …), so most files are small and
// a few hold most bytes; layers above the base also replace and delete files of it.
// Consumers: layer_tar.h (an OCI layer) and layer_files.h (what RUN and COPY do).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sbench {

struct BaseImage;

/// full: 120 + 40 + 20 MiB. small: a tenth, for quick runs. tiny: a fortieth, for tests.
enum class ImageScale { tiny, small, full };
/// "tiny", "small" or "full"; anything else is a bug.
[[nodiscard]] ImageScale parse_image_scale(std::string_view name);
[[nodiscard]] const char* to_string(ImageScale scale);

/// The layers of an image, lowest first. `config` changes no file.
enum class LayerStep { base, packages, dependencies, code, config };
inline constexpr LayerStep kLayerSteps[] = {LayerStep::base, LayerStep::packages, LayerStep::dependencies,
                                            LayerStep::code, LayerStep::config};
[[nodiscard]] const char* to_string(LayerStep step);

struct LayerSpec {
  std::uint64_t seed = 0;
  ImageScale scale = ImageScale::tiny;
  LayerStep step = LayerStep::base;
  unsigned revision = 0;  ///< another application's code, or a changed dependency; base has only 0
  const BaseImage* image = nullptr;  ///< stands in for the synthetic base (base_image.h)
  unsigned level = 0;                ///< of the base step with an image: which of its layers

  friend auto operator<=>(const LayerSpec&, const LayerSpec&) = default;  // NOLINT(modernize-use-nullptr): tidy's bug
};

struct ImageEntry {
  std::string path;        ///< no leading slash
  std::uint32_t mode = 0;  ///< file type and permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t content_seed = 0;
  std::span<const std::byte> content;  ///< not empty: the bytes, instead of content_seed's
  unsigned compressible_percent = 50;
  std::int64_t mtime_ns = 0;
  bool time_known = true;  ///< false: a folder that changes without its layer saying when
  std::uint64_t device_number = 0;
  std::string link_target;       ///< symbolic links
  std::string hard_link_target;  ///< not empty: a hard link to this earlier path of the same layer
  std::map<std::string, std::string> xattrs;
};

struct ImageLayer {
  LayerSpec spec;
  std::vector<std::string> deletions;  ///< files or whole directories of layers below
  std::vector<std::string> opaques;    ///< directories that hide all that layers below have in them
  std::vector<ImageEntry> entries;     ///< parents first; every ancestor of what changes is listed
  std::uint64_t content_bytes = 0;     ///< sum of size_bytes
  std::uint64_t regular_files = 0;     ///< without hard links
};

/// The layer, made at the first call and kept for the life of the process. Thread-safe.
[[nodiscard]] const ImageLayer& image_layer(const LayerSpec& spec);

/// Path → entry of the merged tree of `layers`, lowest first. Points into the layers.
using MergedImage = std::map<std::string, const ImageEntry*>;
[[nodiscard]] MergedImage merge_layers(const std::vector<const ImageLayer*>& layers);

/// A file of every base layer that no other layer touches: proof of cold caches is taken on it.
inline constexpr std::string_view kSentinelPath = "usr/share/sbench/sentinel";

}  // namespace sbench
