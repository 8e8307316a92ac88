// data_root.h: what `sbench run --keep DIR` leaves: a data root as people know it from /var/lib/docker.
//
//   SLUG/                                   one driver's directory: its store (layer_store.h)
//   image/SLUG/repositories.json            name and tag → image
//   image/SLUG/imagedb/content/sha256/ID    an image's configuration, its diff_ids and history
//   image/SLUG/layerdb/sha256/CHAIN/        diff, parent, size, and cache-id: the layer in the store
//   image/SLUG/layerdb/mounts/CONTAINER/    mount-id (the container's own layer), parent
//   containers/CONTAINER/config.v2.json     name, driver, image, mount points
//   volumes/NAME/_data                      a named volume
//
// A store lies on an image file in its driver's directory, as devicemapper's does in Docker: every
// driver needs a device of its own. Nothing stays mounted; `rm -r DIR` removes it all.
#pragma once

#include <functional>

#include "harness/plan.h"

namespace sbench {

/// Builds the run's Dockerfiles (or the default pair) through every driver of `plan` that was asked for, each on a
/// store of its own in `directory`, which must not exist or be empty; starts a container of each image, with a named
/// volume, lets it change a few files, and leaves everything. Inside a Session only. `say` gets a line a driver. The
/// first error, after trying all drivers; what is there of a driver that failed is unspecified.
[[nodiscard]] Status make_data_root(const std::filesystem::path& directory, const Plan& plan, const std::string& scale,
                                    std::uint64_t store_bytes, const std::function<void(const std::string&)>& say);

/// One container of a data root.
struct KeptContainer {
  std::string id;                                            ///< 64 hexadecimal digits
  std::string name;                                          ///< "web"
  std::string driver;                                        ///< the slug, which is its driver's directory
  LayerId layer;                                             ///< its own, in that driver's store
  std::vector<std::pair<std::string, std::string>> volumes;  ///< path in the container, name of the volume
  std::vector<std::pair<LayerId, std::string>> made_by;      ///< the image's layers from below, and their instructions
};

/// All of them, by driver and name. EINVAL naming the file for what is no data root or damaged.
[[nodiscard]] Result<std::vector<KeptContainer>> read_data_root(const std::filesystem::path& directory);

}  // namespace sbench
