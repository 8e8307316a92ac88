// thin_metadata.h: reads dm-thin's metadata, to learn what a thin device has of its own.
//
// dm-thin reports how much a device maps, not how much of that it shares. Its
// metadata says: every mapping carries the pool's time when its chunk was
// allocated, and the time goes on with each snapshot, so a mapping no older than
// its device was allocated for it. Format: drivers/md/dm-thin-metadata.c and
// persistent-data/dm-btree-internal.h of Linux; little-endian, blocks of 4 KiB.
//
// The caller holds a metadata snapshot (message reserve_metadata_snap), whose
// superblock does not change under the reader; reads bypass the page cache.
#pragma once

#include <cstdint>
#include <filesystem>

#include "drivers/base/result.h"

namespace sbench::devicemapper {

/// Chunks of thin device `id` allocated since it was made, by the superblock at block `held_root`. ENOENT; EUCLEAN.
[[nodiscard]] Result<std::uint64_t> count_own_chunks(const std::filesystem::path& metadata_device,
                                                     std::uint64_t held_root, std::uint32_t id);

}  // namespace sbench::devicemapper
