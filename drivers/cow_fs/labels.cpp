#include "drivers/cow_fs/labels.h"

#include <cstring>
#include <functional>
#include <map>

#include "drivers/cow_fs/bytes.h"

namespace sbench::cow_fs {

std::uint64_t label_offset(std::uint64_t device_bytes, unsigned index) {
  return index == 0 ? 0 : device_bytes / kSector * kSector - kLabelBytes;
}

Status write_labels(BlockIo& io, const LabelHeader& header) {
  Bytes label = zeroed(kLabelBytes);
  store(label.data(), header);
  seal(std::span(label).first(kSector));
  for (unsigned index = 0; index < 2; ++index) {
    SBENCH_TRY(io.write(label_offset(header.device_bytes, index), label));
  }
  return {};
}

Result<LabelHeader> read_label(BlockIo& io) {
  if (io.size_bytes() < 2 * kLabelBytes) {
    return plain_error(EUCLEAN, "the device is too small for a cow_fs pool");
  }
  Error last = plain_error(EUCLEAN, "neither label of the pool is sound");
  for (unsigned index = 0; index < 2; ++index) {
    Bytes sector(kSector);
    if (const Status read = io.read(label_offset(io.size_bytes(), index), sector); !read.ok()) {
      last = read.error();
      continue;
    }
    const auto header = load<LabelHeader>(sector.data());
    if (is_sealed(sector) && is_plausible(header, io.size_bytes())) {
      return header;
    }
  }
  return last;
}

std::vector<Uberblock> read_uberblocks(BlockIo& io, const LabelHeader& header, std::vector<DamagedSlot>* damaged) {
  std::map<std::uint64_t, Uberblock, std::greater<>> by_group;  // the first label's, where both hold one
  Bytes sector(kSector);
  for (unsigned index = 0; index < 2; ++index) {
    const std::uint64_t offset = label_offset(header.device_bytes, index);
    for (std::uint64_t slot = 0; slot < kUberblocks; ++slot) {
      const std::uint64_t at = offset + (1 + slot) * kSector;
      const bool readable = io.read(at, sector).ok();
      const auto field = [&sector](std::size_t offset_in) { return load<std::uint64_t>(sector.data() + offset_in); };
      if (readable && field(offsetof(Uberblock, magic)) == kUberMagic && field(offsetof(Uberblock, guid)) == header.guid &&
          field(offsetof(Uberblock, group)) % kUberblocks == slot && is_sealed(sector)) {
        by_group.try_emplace(field(offsetof(Uberblock, group)), load<Uberblock>(sector.data()));
      } else if (damaged != nullptr &&
                 (!readable || sector.front() != std::byte{0} || std::memcmp(sector.data(), sector.data() + 1, kSector - 1) != 0)) {
        damaged->push_back({slot, fmt::format("label {} slot {} at {}: not a sound uberblock", index, slot, at)});
      }
    }
  }
  std::vector<Uberblock> found;
  found.reserve(by_group.size());
  for (const auto& [group, uberblock] : by_group) {
    found.push_back(uberblock);
  }
  return found;
}

namespace {

Bytes sealed_sector(const Uberblock& uberblock) {
  Bytes sector = zeroed(kSector);
  store(sector.data(), uberblock);
  seal(sector);
  return sector;
}

}  // namespace

Status complete_rings(BlockIo& io, const LabelHeader& header, const Uberblock& newest) {
  const Bytes sector = sealed_sector(newest);
  for (unsigned index = 0; index < 2; ++index) {
    const std::uint64_t at = label_offset(header.device_bytes, index) + (1 + newest.group % kUberblocks) * kSector;
    Bytes found(kSector);
    SBENCH_TRY(io.read(at, found));
    if (found != sector) {
      SBENCH_TRY(io.write(at, sector));
    }
  }
  return {};
}

Status write_uberblock(BlockIo& io, const LabelHeader& header, const Uberblock& uberblock) {
  const Bytes sector = sealed_sector(uberblock);
  const std::uint64_t at = (1 + uberblock.group % kUberblocks) * kSector;
  const BlockIo::Transfer both[] = {{label_offset(header.device_bytes, 0) + at, sector},
                                    {label_offset(header.device_bytes, 1) + at, sector}};
  return io.write_all(both);
}

}  // namespace sbench::cow_fs
