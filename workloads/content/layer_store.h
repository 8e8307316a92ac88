// layer_store.h: the bytes of image layers, made once per process and held in memory.
//
// Timed regions must not pay for generating content. A layer's tar (for apply) and
// its file content (for direct writing) are therefore made before, in memfds, which
// dropping caches does not touch. Thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "drivers/base/result.h"
#include "workloads/content/image.h"

namespace sbench {

/// The layer as an uncompressed OCI layer tar, whiteouts first. Valid for the life of the process.
[[nodiscard]] Result<std::span<const std::byte>> layer_tar(const LayerSpec& spec);

/// The content of the layer's regular files (hard links have none), one after
/// the other in the order of its entries. Valid for the life of the process.
[[nodiscard]] Result<std::span<const std::byte>> layer_content(const LayerSpec& spec);

}  // namespace sbench
