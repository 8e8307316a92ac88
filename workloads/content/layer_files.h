// layer_files.h: a layer as direct file operations in a mounted tree, and checking such trees.
//
// write_layer does what RUN and COPY do: delete, make folders, write files (new
// content of an existing path goes to a temporary file that is renamed over it, as
// package managers do), set owners, modes, xattrs and times. Nothing is synced.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "drivers/base/result.h"
#include "drivers/base/rng.h"
#include "workloads/content/image.h"

namespace sbench {

/// Makes the changes of `layer` below `root`, which shows the layers below it.
/// `content` is layer_content(layer.spec). The tree equals the one apply() gives.
[[nodiscard]] Status write_layer(const std::filesystem::path& root, const ImageLayer& layer,
                                 std::span<const std::byte> content);

/// How much of a tree is read back.
enum class CheckDepth {
  sampled,  ///< every path is there and none more; metadata and content of 200 files
  full,     ///< metadata of every path, content of every file
};

/// Whether the file at `path` holds the content of `entry`, a regular file.
[[nodiscard]] Status verify_content(const std::filesystem::path& path, const ImageEntry& entry);

/// Whether the tree below `root` is `image`. An error names the first path that differs.
[[nodiscard]] Status verify_image(const std::filesystem::path& root, const MergedImage& image, CheckDepth depth,
                                  Rng rng);

}  // namespace sbench
