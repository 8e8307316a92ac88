// fixtures.h: the layer stacks that workloads share, made once per store.
//
// Fixtures stay in the store until it is formatted afresh. All content comes from
// the run's seed, so every driver and block gets the same bytes.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "workloads/case.h"
#include "workloads/content/content.h"
#include "workloads/content/image.h"
#include "workloads/content/layer_files.h"

namespace sbench {

/// The seed of all generated content of this run.
[[nodiscard]] std::uint64_t content_seed(const Case& c);

/// Fixture `name`: a committed layer on `parent` whose changes `write` makes in its mounted tree.
[[nodiscard]] Status written_layer(Case& c, const LayerId& name, const ParentId& parent,
                                   const std::function<Status(const std::filesystem::path&)>& write);

// One big lower file below `depth` layers.

inline constexpr std::string_view kLowerFile = "data/file";
/// Content of the lower file of `size_bytes`.
[[nodiscard]] Content lower_content(const Case& c, std::uint64_t size_bytes);
/// A stack of `depth` committed layers: the bottom one holds kLowerFile, each other a
/// small file in the same folder. Returns its top.
[[nodiscard]] Result<LayerId> lower_file_stack(Case& c, std::uint64_t size_bytes, unsigned depth);

// A tree of many small files.

struct SmallFile {
  std::string path;  ///< "tree/d003/f0312"
  std::uint64_t size_bytes = 0;
  std::uint64_t content_seed = 0;
};
/// `count` files of 1 to 12 KiB, 100 a folder, all below "tree".
[[nodiscard]] std::vector<SmallFile> small_files(const Case& c, std::uint64_t count);
/// One committed layer that holds them.
[[nodiscard]] Result<LayerId> small_file_layer(Case& c, std::uint64_t count);
/// Whether the file at `path` is `file`, followed by `appended` bytes of append_content(file).
[[nodiscard]] Status verify_small_file(const std::filesystem::path& path, const SmallFile& file,
                                       std::uint64_t appended = 0);
[[nodiscard]] Content append_content(const SmallFile& file);

// The synthetic image.

[[nodiscard]] LayerSpec image_spec(const Case& c, ImageScale scale, LayerStep step, unsigned revision = 0);
/// prepare, apply and commit of one layer, as one would pull it. Returns the content bytes unpacked.
[[nodiscard]] Result<std::uint64_t> pull_layer(Driver& driver, const LayerId& name, const LayerId& key,
                                               const ParentId& parent, const LayerSpec& spec);
/// The layers from the base up to `top` (revision 0), lowest first: with an image in place of the
/// synthetic base (Case::image), its layers come first.
[[nodiscard]] std::vector<LayerSpec> image_specs(const Case& c, ImageScale scale, LayerStep top);
/// What stands for the whole application image: with a given image just its own layers.
[[nodiscard]] LayerStep whole_image(const Case& c);
/// The scale that the parameter `image` names: "full", or "NAME-full" with a given image.
[[nodiscard]] ImageScale image_scale(const Case& c);
/// A file of the image that no step above it touches; see kSentinelPath.
[[nodiscard]] std::string image_probe(const Case& c);
/// What fixtures that are no image stand on: the given image, pulled, or nothing.
[[nodiscard]] Result<ParentId> fixture_base(Case& c);
/// The image pulled layer by layer from the base up to `top`; returns the top layer's id.
[[nodiscard]] Result<LayerId> pulled_image(Case& c, ImageScale scale, LayerStep top);
/// The merged tree of the layers up to `top` (revision 0).
[[nodiscard]] MergedImage merged_image(const Case& c, ImageScale scale, LayerStep top);
/// full for tiny images (tests), else sampled.
[[nodiscard]] CheckDepth check_depth(ImageScale scale);

// States of caches and the device.

/// For Case::cannot_run(), where may_give_files_away() (base/user_namespace.h) says no.
inline constexpr const char* kNoOtherOwners = "a user namespace with one user mapped has no other owners to give files to";
inline constexpr const char* kSubordinateIds =
    "give the user ranges in /etc/subuid and /etc/subgid and install newuidmap (Debian: uidmap), or run sbench as root";

/// Waits until everything written before is on the device and the device is quiet.
[[nodiscard]] Status quiet(Case& c);
/// Empties all caches and flags the sample with what a probe of the page cache said:
/// "cache_cold_verified" or "cache_not_cold". `layer` shows the file `probe`, which is
/// read before, and looked at (not read) after. No Mount may be alive.
[[nodiscard]] Status go_cold(Case& c, const LayerId& layer, std::string_view probe);
inline constexpr std::string_view kLowerProbe = "probe/sentinel";  ///< of every fixture that is no image

}  // namespace sbench
