// directory_driver.h: every layer a complete directory tree of its own.
//
// The mechanism of `native` and `vfs`: prepare copies the parent's tree, and
// from then on the layer is a plain directory. They differ in one thing only:
// whether the copy may share data blocks with the parent.
//
// On the backing file system: dirs/ID, the layer's whole tree.
#pragma once

#include "drivers/backing/backed_driver.h"

namespace sbench {

struct DirectoryDriverKind {
  const char* name = "";
  bool clones = false;  ///< copy with FICLONE where the backing can
};

/// The parts of a DriverSpec that the kind decides; the summary is the driver's own.
[[nodiscard]] DriverSpec directory_driver_spec(DirectoryDriverKind kind);

}  // namespace sbench
