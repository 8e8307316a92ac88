// engine_store.h: finding a user-space engine's store on a device or in a file, for check, dump and restore.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/block/block_io.h"
#include "drivers/store_format.h"

namespace sbench {

struct EngineStore {
  std::string path;
  Fd claim;  ///< on a block device, as long as it is open: nobody mounts it meanwhile
  std::unique_ptr<BlockIo> io;
  const StoreFormat* format = nullptr;
  std::vector<std::string> signatures;  ///< of a writable one: others' that libblkid finds there, "ext4 labelled 'home'"
};

/// Opens what `place` names: a block device, an image file, or the folder of a `sbench layer` store.
/// EBUSY while something uses it; ENODATA when no engine knows what is there. A `format` given by
/// name is taken at its word, and may be damaged beyond recognition.
[[nodiscard]] Result<EngineStore> open_engine_store(const std::string& place, const std::string& format, bool writable);

/// The names, for help and errors: "thin_pool".
[[nodiscard]] std::vector<std::string> store_format_names();

}  // namespace sbench
