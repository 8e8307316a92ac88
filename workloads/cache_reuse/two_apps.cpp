// two_apps.cpp: two applications built after one another, sharing all but code and entry point.
//
// The second build must find base, packages and dependencies in the build cache;
// only its code and configuration layers are made. Timed is the second build.
#include "workloads/content/image_build.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  SBENCH_TRY_SET(const LayerId base, pulled_image(c, scale, LayerStep::base));
  const auto first_steps = build_steps(c, scale, {});
  const auto second_steps = build_steps(c, scale, {.code = 1, .config = 1});
  SBENCH_TRY(warm_layers(c, scale, first_steps));
  SBENCH_TRY(warm_layers(c, scale, second_steps));
  Scratch scratch(c);
  BuildCache cache;
  SBENCH_TRY(quiet(c));

  BuildOutcome first;
  const std::uint64_t first_start_ns = Case::clock_ns();
  SBENCH_TRY(c.phase("first_build", [&]() -> Status {
    SBENCH_TRY_SET(first, build_image(c, scratch, cache, scale, base, first_steps));
    return c.driver().sync();
  }));
  const std::uint64_t first_ns = Case::clock_ns() - first_start_ns;
  SBENCH_TRY_SET(const Case::Space between, c.space());
  SBENCH_TRY(quiet(c));

  BuildOutcome second;
  const std::uint64_t second_start_ns = Case::clock_ns();
  SBENCH_TRY(c.timed("second_build", [&]() -> Status {
    SBENCH_TRY_SET(second, build_image(c, scratch, cache, scale, base, second_steps));
    return c.driver().sync();
  }));
  const std::uint64_t second_ns = Case::clock_ns() - second_start_ns;
  SBENCH_TRY(c.settle());
  c.app_wrote(second.bytes_written);
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("cache_hits", static_cast<double>(second.hits));
  c.metric("cache_misses", static_cast<double>(second.misses));
  c.metric("bytes_shared", static_cast<double>(second.bytes_shared));
  c.metric("saved_s", (static_cast<double>(first_ns) - static_cast<double>(second_ns)) * 1e-9);
  c.metric("space_second_build_bytes", static_cast<double>(after.bytes) - static_cast<double>(between.bytes));

  SBENCH_TRY(verify(first.hits == 0 && first.misses == 4, "the first build makes all four layers"));
  SBENCH_TRY(verify(second.hits == 2 && second.misses == 2, "the second build shares packages and dependencies"));
  SBENCH_TRY(verify_build(c, scale, first.top, first_steps));
  SBENCH_TRY(verify_build(c, scale, second.top, second_steps));
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "cache_reuse.two_apps",
    .summary = "a second application on the same base, packages and dependencies",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"image", "size of the image", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
