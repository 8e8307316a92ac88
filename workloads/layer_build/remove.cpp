// remove.cpp: deleting an image's layers, top first, until the space is given back.
#include "workloads/content/fixtures.h"
#include "workloads/content/measured.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  Scratch scratch(c);
  ParentId below;
  for (const LayerSpec& spec : image_specs(c, scale, whole_image(c))) {
    const LayerId layer = c.unique_id("remove");
    scratch.adopt(layer);
    SBENCH_TRY_SET([[maybe_unused]] const auto bytes,
                   pull_layer(c.driver(), layer, layer, below, spec));
    below = layer;
  }
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  const auto layers = scratch.layers();
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    SBENCH_TRY(c.timed("remove", [&] { return c.op("remove_layer", [&] { return scratch.remove(*layer); }); }));
  }
  return finish_removal(c, before, layers);
}

const RegisterWorkload kRegistered{{
    .name = "layer_build.remove",
    .summary = "removal of an application image's layers",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"image", "size of the image", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
