// pull.cpp: unpacking an image's layers in order, as a pull does after the download.
//
// Ends with everything on the device. Removing the stack again is recorded as a phase.
#include "workloads/content/fixtures.h"
#include "workloads/content/layer_store.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

Status pull(Case& c, Scratch& scratch, ImageScale scale, LayerId& top) {
  ParentId below;
  for (const LayerSpec& spec : image_specs(c, scale, whole_image(c))) {
    SBENCH_TRY_SET(const auto tar, layer_tar(spec));
    LayerId layer = c.unique_id("pull");
    scratch.adopt(layer);
    SBENCH_TRY(c.timed("prepare", [&] { return c.driver().prepare(layer, below); }));
    SBENCH_TRY(c.timed("apply", [&]() -> Status {
      MemorySource source(tar);
      SBENCH_TRY_SET(const std::uint64_t bytes, c.driver().apply(layer, source));
      c.app_wrote(bytes);
      return {};
    }));
    SBENCH_TRY(c.timed("commit", [&] { return c.driver().commit(layer, layer); }));
    below = layer;
  }
  top = *below;
  return c.timed("sync", [&] { return c.driver().sync(); });
}

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  for (const LayerSpec& spec : image_specs(c, scale, whole_image(c))) {  // generating content is not what is timed
    SBENCH_TRY_SET([[maybe_unused]] const auto tar, layer_tar(spec));
  }
  Scratch scratch(c);
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));
  LayerId top;
  SBENCH_TRY(pull(c, scratch, scale, top));
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));
  c.metric("inodes_growth", static_cast<double>(after.inodes) - static_cast<double>(before.inodes));

  SBENCH_TRY_SET(Mount mount, c.driver().mount(top));
  SBENCH_TRY(
      verify_image(mount.path(), merged_image(c, scale, whole_image(c)), check_depth(scale), c.rng("verify")));
  SBENCH_TRY(mount.release());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "layer_build.pull",
    .summary = "the layers of an application image, unpacked in order",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"image", "size of the image", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
