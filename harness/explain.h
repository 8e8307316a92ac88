// explain.h: which layer answers for a path in a container, and why.
//
// Union drivers are read from their layer directories, layer by layer from the top, by the rules of
// the kernel's overlayfs document and aufs' manual: files, whiteouts, opaque directories, redirects and
// metadata-only copies. The other drivers keep whole trees, which say nothing of layers; there the list
// of what each layer changed decides. Either way the mounted tree has the last word: where it
// disagrees, that is an error.
#pragma once

#include <string>
#include <vector>

#include "drivers/driver.h"

namespace sbench {

struct Explanation {
  struct Row {
    LayerId layer;
    std::string what;  ///< what stands in it for the path
  };
  std::vector<Row> rows;         ///< the layers that were asked, from the top
  std::optional<LayerId> answer;  ///< the layer whose entry is seen; none: the path does not exist
  std::string reason;
};

/// `driver` is a store of the driver `name`, mounted at `root`; `path` counts from the container's root, and no link in
/// it is followed. ENOENT when there is no such layer; EIO when the mounted tree says otherwise.
[[nodiscard]] Result<Explanation> explain_path(Driver& driver, const std::string& name, const std::filesystem::path& root,
                                               const LayerId& id, const std::string& path);

}  // namespace sbench
