// thin_file_system.h: the file system on a thin device: made once on the base device, mounted from each snapshot.
//
// mkfs as Docker calls it: ext4 with nodiscard and nothing left to initialise
// in the background, xfs with its defaults; dm.mkfsarg is added. Snapshots carry
// their origin's UUID, which xfs mounts only with nouuid. A thin device of the
// kernel tells mkfs its chunk (io_opt), so files begin on chunks; a loop device
// cannot tell, so mkfs is told here: both engines get the same layout.
#pragma once

#include <cstdint>
#include <filesystem>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench::devicemapper {

[[nodiscard]] Status make_file_system(const std::filesystem::path& block_device, std::uint64_t size_bytes,
                                      std::uint64_t chunk_bytes, const Options& options);
/// Mounts it noatime, with dm.mountopt.
[[nodiscard]] Status mount_file_system(const std::filesystem::path& block_device, const std::filesystem::path& target,
                                       const Options& options, bool read_only);

/// A small ext4 for the driver's own tables, every chunk of it allocated now: it goes on when the pool is full.
[[nodiscard]] Status make_store(const std::filesystem::path& block_device, std::uint64_t size_bytes,
                                std::uint64_t chunk_bytes);

}  // namespace sbench::devicemapper
