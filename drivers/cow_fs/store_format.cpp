// store_format.cpp: cow_fs for `sbench check` and `dump`.
#include "drivers/store_format.h"

#include <cstring>

#include "drivers/cow_fs/bytes.h"
#include "drivers/cow_fs/check.h"
#include "drivers/cow_fs/dump.h"
#include "drivers/cow_fs/labels.h"

namespace sbench {

namespace {

using namespace cow_fs;

/// The magic in either label.
bool recognises(BlockIo& io) {
  const LabelHeader fresh;
  for (unsigned index = 0; index < 2; ++index) {
    Bytes sector(kSector);
    if (io.size_bytes() >= 2 * kLabelBytes && io.read(label_offset(io.size_bytes(), index), sector).ok() &&
        std::memcmp(sector.data(), fresh.magic, sizeof(fresh.magic)) == 0) {
      return true;
    }
  }
  return false;
}

StoreReport check(BlockIo& io) {
  CheckReport found = check_pool(io);
  StoreReport report{std::move(found.findings), std::move(found.notes), {}};
  if (found.group > 0) {
    report.figures = {
        {"group", std::to_string(found.group)},     {"datasets", std::to_string(found.datasets)},
        {"objects", std::to_string(found.objects)}, {"blocks", std::to_string(found.blocks)},
        {"bytes", std::to_string(found.bytes)},
    };
  }
  return report;
}

Status restore(BlockIo&, std::istream&) {
  return plain_error(ENOTSUP, "a cow_fs pool cannot be made from its dump: every block's place is proved by the one above it");
}

}  // namespace

StoreFormat cow_fs_format() { return {"cow_fs", recognises, check, dump_pool, restore}; }

}  // namespace sbench
