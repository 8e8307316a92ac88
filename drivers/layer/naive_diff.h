// naive_diff.h: what changed between two merged trees, found by walking both.
//
// The differ of drivers whose layers cannot be read alone (btrfs, zfs,
// devicemapper, vfs). A file differs when mode, owner, device number, size,
// mtime or the security.capability xattr differs; directories ignore size and
// mtime. Cost is proportional to all files, not to the changed ones.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/change.h"

namespace sbench {

/// Changes that turn `lower` into `upper`, sorted by path. No lower: everything is added.
/// A directory in which something changed counts as modified; the root is not listed.
[[nodiscard]] Result<std::vector<Change>> naive_changes(const std::optional<std::filesystem::path>& lower,
                                                        const std::filesystem::path& upper);

/// Packs `changes` as a layer tar, reading content from the merged tree `upper`.
/// Parent directories of changed paths are included, as docker does, and the root (`./`).
/// EINVAL for a name that starts with `.wh.`, which would delete something when unpacked.
[[nodiscard]] Status write_changes(const std::vector<Change>& changes, const std::filesystem::path& upper,
                                   ByteSink& tar);

}  // namespace sbench
