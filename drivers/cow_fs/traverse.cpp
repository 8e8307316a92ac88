// traverse.cpp: walks the blocks of an object set, leaving out what is older than asked for.
//
// A block is never older than one below it, so an old pointer ends the walk there.
#include <unordered_set>

#include "drivers/cow_fs/pool.h"

namespace sbench::cow_fs {

namespace {

class Walk {
 public:
  Walk(BlockStore& blocks, std::uint64_t after, bool with_data, const VisitBlock& visit,
       const std::function<Status(const Error&)>& damaged)
      : blocks_(blocks), after_(after), with_data_(with_data), visit_(visit), damaged_(damaged) {}

  Status object_set(const BlockPointer& pointer) {
    if (pointer.is_hole() || pointer.birth <= after_) {
      return {};
    }
    SBENCH_TRY(visit_(pointer, 0, 0));
    const auto content = blocks_.read(pointer);
    if (!content.ok()) {
      return damaged_(content.error());
    }
    const auto block = load<ObjectSetBlock>((*content)->data());  // no block is smaller than a sector
    if (block.magic != kObjectSetMagic || !is_plausible(block.dnodes)) {
      return damaged_(plain_error(EUCLEAN, "{}: no object set", describe(pointer)));
    }
    return tree(block.dnodes.root, block.dnodes.levels - 1U, 0, 0);
  }

 private:
  Status tree(const BlockPointer& pointer, unsigned level, std::uint64_t object, std::uint64_t index) {
    if (pointer.is_hole() || pointer.birth <= after_) {
      return {};
    }
    if (pointer.level != level) {
      return damaged_(plain_error(EUCLEAN, "object {}: {}: not the level that belongs there", object, describe(pointer)));
    }
    const bool dnodes = level == 0 && object == 0;
    if ((level > 0 && pointer.logical_bytes != kIndirectBytes) || (dnodes && pointer.logical_bytes != kDnodeBlockBytes)) {
      return damaged_(plain_error(EUCLEAN, "object {}: {}: not of the size that belongs there", object, describe(pointer)));
    }
    if ((level > 0 || dnodes) && !met_.insert(pointer.address).second) {
      return damaged_(plain_error(EUCLEAN, "object {}: {}: it is named twice", object, describe(pointer)));
    }
    SBENCH_TRY(visit_(pointer, object, index));
    if (level == 0 && object != 0 && !with_data_) {
      return {};
    }
    const auto content = blocks_.read(pointer);
    if (!content.ok()) {
      return damaged_(plain_error(content.error().code, "object {} block {}: {}", object, index, content.error().what));
    }
    if (level > 0) {
      for (std::uint64_t i = 0; i < kFanOut; ++i) {
        SBENCH_TRY(tree(load<BlockPointer>((*content)->data() + i * sizeof(BlockPointer)), level - 1, object, index * kFanOut + i));
      }
    } else if (object == 0) {
      for (std::uint64_t i = 0; i < kDnodesPerBlock; ++i) {
        const auto dnode = load<Dnode>((*content)->data() + i * kDnodeBytes);
        if (dnode.type == ObjectType::free) {
          continue;
        }
        const std::uint64_t id = index * kDnodesPerBlock + i;
        if (!is_plausible(dnode)) {
          SBENCH_TRY(damaged_(plain_error(EUCLEAN, "object {}: its dnode makes no sense", id)));
          continue;
        }
        SBENCH_TRY(tree(dnode.root, dnode.levels - 1U, id, 0));
      }
    }
    return {};
  }

  BlockStore& blocks_;
  std::uint64_t after_;
  bool with_data_;
  const VisitBlock& visit_;
  const std::function<Status(const Error&)>& damaged_;
  std::unordered_set<std::uint64_t> met_;  ///< blocks that lead on, by address
};

}  // namespace

Status visit_blocks(BlockStore& blocks, const BlockPointer& objects, std::uint64_t after, bool with_data,
                    const VisitBlock& visit, const std::function<Status(const Error&)>& damaged) {
  return Walk(blocks, after, with_data, visit, damaged).object_set(objects);
}

}  // namespace sbench::cow_fs
