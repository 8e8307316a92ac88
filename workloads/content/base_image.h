// base_image.h: the image the user gave, as layers that workloads can pull and check.
//
// It takes the place of the synthetic base: pull and remove work on its layers alone,
// builds and containers put generated layers on top, all other fixtures stand on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/layer/memory_file.h"
#include "workloads/content/image.h"

namespace sbench {

struct BaseImage {
  std::string slug;    ///< [a-z0-9._-]+, for case names
  std::string source;  ///< as the user named it
  std::string kind;
  std::string platform;
  std::string digest;
  std::vector<std::unique_ptr<const ImageLayer>> layers;  ///< lowest first
  std::vector<std::shared_ptr<MemoryFile>> tars;          ///< of each layer; null where it is generated
  std::vector<std::shared_ptr<MemoryFile>> contents;      ///< what the entries' content points into
  std::string probe_path;  ///< a file no generated layer touches: proof of cold caches is taken on it

  [[nodiscard]] std::vector<const ImageLayer*> all_layers() const;
};

/// Loads `source` (see image.h; or profile:FILE: layers of that shape, from `seed`) for `platform` (empty: this machine's). EINVAL also for an image whose
/// meaning differs from driver to driver: a path below a symbolic link of a lower layer.
[[nodiscard]] Result<std::shared_ptr<const BaseImage>> load_base_image(const std::string& source,
                                                                       const std::string& platform,
                                                                       std::uint64_t seed = 0);

}  // namespace sbench
