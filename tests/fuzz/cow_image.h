// cow_image.h: a small cow_fs pool with everything in it, and ways to damage it so that the damage is believed.
//
// Every block is proved by the checksum in a pointer to it, up to the uberblock, so a change deep below would never be
// looked at. Here every block's parents are known: a changed block is written anew, and so is all that leads to it.
#pragma once

#include <map>
#include <vector>

#include "drivers/cow_fs/format.h"
#include "tests/fuzz/patched_device.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {

struct CowNode {
  enum class Proof { pointer, table, seal };  ///< by a block pointer; by the checksum of one alone; by itself
  Proof proof = Proof::pointer;
  std::uint64_t address = 0;
  std::uint64_t mirror = 0;          ///< the second copy's address, 0: there is none
  std::uint32_t physical_bytes = 0;  ///< on the device
  std::vector<std::byte> content;    ///< as its readers see it
  struct Parent {
    std::size_t node = 0;
    std::size_t offset = 0;  ///< of the pointer in the parent's content
  };
  std::vector<Parent> parents;
};

struct CowImage {
  std::vector<std::byte> bytes;
  std::vector<CowNode> nodes;      ///< all but file data
  std::vector<std::size_t> order;  ///< children before parents
  std::uint64_t scratch = 0;       ///< free space for blocks that no longer fit where they were
  std::uint64_t scratch_end = 0;
};

/// Made once: datasets, a snapshot, a clone, a dead list, directories with and without split leaves, attributes, links,
/// sparse files, and operations that only the intent log holds.
[[nodiscard]] const CowImage& cow_image();
/// Takes changes from the input until one says stop, and puts them on the device.
void damage_cow(PatchedDevice& device, Reader& input);

}  // namespace sbench::fuzz
