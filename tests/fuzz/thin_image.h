// thin_image.h: a small thin pool with everything in it, and ways to damage its metadata so that the damage is believed.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/fuzz/patched_device.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {

struct ThinImage {
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> blocks;  ///< metadata blocks in use, the two superblocks first
};

/// Made once: devices, snapshots, shared chunks, trees of two levels.
[[nodiscard]] const ThinImage& thin_image();
/// Takes changes from the input until one says stop: bytes of a block, a block in another's place, a pointer or key copied. Then
/// gives the changed blocks right checksums, but where the input says otherwise.
void damage(PatchedDevice& device, Reader& input);

}  // namespace sbench::fuzz
