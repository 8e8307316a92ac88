// build.cpp: a Dockerfile-shaped build on a pulled base, timed step by step and phase by phase.
//
// Each step is prepare, mount, write (what RUN and COPY do), unmount, diff (the
// layer as a tar, to be pushed) and commit. Phases are named step.phase.
#include "drivers/base/units.h"
#include "workloads/content/image_build.h"
#include "workloads/content/layer_store.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

Status timed_step(Case& c, Scratch& scratch, const LayerSpec& spec, LayerId& below) {
  const ImageLayer& layer = image_layer(spec);
  SBENCH_TRY_SET(const auto content, layer_content(spec));
  const LayerId key = c.unique_id("build");
  const LayerId parent = below;
  scratch.adopt(key);
  std::optional<Mount> mount;
  CountingSink pushed;
  const auto timed = [&](const char* phase, const std::function<Status()>& body) {
    return c.timed(fmt::format("{}.{}", to_string(spec.step), phase), body);
  };
  SBENCH_TRY(timed("prepare", [&] { return c.driver().prepare(key, parent); }));
  SBENCH_TRY(timed("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(key));
    mount.emplace(std::move(made));
    return {};
  }));
  SBENCH_TRY(timed("write", [&] { return write_layer(mount->path(), layer, content); }));
  SBENCH_TRY(timed("unmount", [&] { return mount->release(); }));
  SBENCH_TRY(timed("diff", [&] { return c.driver().diff(key, parent, pushed); }));
  SBENCH_TRY(timed("commit", [&] { return c.driver().commit(key, key); }));
  below = key;
  c.app_wrote(layer.content_bytes);
  // Headers take 512 bytes to 3 KiB an entry, content is padded to 512 bytes.
  const std::uint64_t entries = layer.entries.size() + layer.deletions.size();
  SBENCH_TRY(verify(pushed.bytes() >= layer.content_bytes,
                    fmt::format("the diff of step {} holds all its content", to_string(spec.step))));
  return verify(pushed.bytes() <= layer.content_bytes + entries * 4 * kKiB + 64 * kKiB,
                fmt::format("the diff of step {} holds its own changes only", to_string(spec.step)));
}

/// Packs every built layer again, untimed, unpacks the tars on the base, and compares.
Status verify_diffs(Case& c, ImageScale scale, const LayerId& base, const std::vector<LayerId>& built,
                    const std::vector<BuildStep>& steps) {
  Scratch scratch(c);
  LayerId source_parent = base;
  LayerId copy_parent = base;
  for (const auto& layer : built) {
    MemorySink packed;
    SBENCH_TRY(c.driver().diff(layer, source_parent, packed));
    SBENCH_TRY_SET(const LayerId copy, scratch.prepare("verify-diff", copy_parent));
    MemorySource source(packed.data());
    SBENCH_TRY_SET([[maybe_unused]] const auto bytes, c.driver().apply(copy, source));
    SBENCH_TRY_SET(copy_parent, scratch.commit("verify-diff", copy));
    source_parent = layer;
  }
  SBENCH_TRY(verify_build(c, scale, copy_parent, steps));
  return scratch.remove_all();
}

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  SBENCH_TRY_SET(const LayerId base, pulled_image(c, scale, LayerStep::base));
  const auto steps = build_steps(c, scale, {});
  SBENCH_TRY(warm_layers(c, scale, steps));
  Scratch scratch(c);
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  LayerId below = base;
  for (const auto& step : steps) {
    SBENCH_TRY(timed_step(c, scratch, image_spec(c, scale, step.step, step.revision), below));
  }
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));
  c.metric("inodes_growth", static_cast<double>(after.inodes) - static_cast<double>(before.inodes));

  SBENCH_TRY(verify_build(c, scale, below, steps));
  if (scale == ImageScale::tiny) {
    SBENCH_TRY(verify_diffs(c, scale, base, scratch.layers(), steps));
  }
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "layer_build.build",
    .summary = "a Dockerfile's steps on a pulled base, each by phase",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"image", "size of the image", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
