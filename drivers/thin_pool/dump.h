// dump.h: a pool's metadata as text, and a pool made from that text.
//
//   thin_pool 1 chunk_bytes=65536 metadata_blocks=… data_offset=… data_chunks=… skip_zeroing=0 time=… transaction=…
//   device 7 size_bytes=… created=… snapshotted=… transaction=…
//   map 0+16 120 3        chunks 0 to 15 are at blocks 120 to 135, since time 3
//   zero 16+4             chunks 16 to 19 are promised to read as zeros
//   end
//
// The data stays where it is: restore rebuilds trees and space maps around it.
// Devices that shared tree nodes have their own afterwards; their chunks stay shared.
#pragma once

#include <functional>
#include <istream>
#include <string_view>

#include "drivers/block/block_io.h"

namespace sbench::thin_pool {

/// Calls `line` with each line, its newline included. EUCLEAN when a device cannot be read to its end.
[[nodiscard]] Status dump_pool(BlockIo& io, const std::function<Status(std::string_view line)>& line);
/// Overwrites the device's metadata. The text is read to its end before anything is written: EINVAL names a bad line.
[[nodiscard]] Status restore_pool(BlockIo& io, std::istream& text);

}  // namespace sbench::thin_pool
