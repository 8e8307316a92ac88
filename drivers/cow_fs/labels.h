// labels.h: the two labels of a pool: what it is, and a ring of uberblocks in each.
#pragma once

#include <string>
#include <vector>

#include "drivers/block/block_io.h"
#include "drivers/cow_fs/format.h"

namespace sbench::cow_fs {

/// Writes both headers and empties both rings. Not flushed.
[[nodiscard]] Status write_labels(BlockIo& io, const LabelHeader& header);
/// The first sound header. EUCLEAN when there is none.
[[nodiscard]] Result<LabelHeader> read_label(BlockIo& io);
struct DamagedSlot {
  std::uint64_t slot = 0;
  std::string what;
};
/// Sound uberblocks of both rings, newest first, each group once. `damaged`: what was neither sound nor empty.
[[nodiscard]] std::vector<Uberblock> read_uberblocks(BlockIo& io, const LabelHeader& header,
                                                     std::vector<DamagedSlot>* damaged = nullptr);
/// Into its slot of both rings. Not flushed.
[[nodiscard]] Status write_uberblock(BlockIo& io, const LabelHeader& header, const Uberblock& uberblock);
/// Gives the newest uberblock to the ring that a power loss kept from having it. Not flushed.
[[nodiscard]] Status complete_rings(BlockIo& io, const LabelHeader& header, const Uberblock& newest);
/// Where label `index` (0 or 1) begins.
[[nodiscard]] std::uint64_t label_offset(std::uint64_t device_bytes, unsigned index);

}  // namespace sbench::cow_fs
