// rebuild.cpp: building again after one step changed: it and all steps after it are made anew.
#include "workloads/content/image_build.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

Application changed_at(const std::string& step) {
  Application application;
  if (step == "dependencies") {
    application.dependencies = 1;
  } else if (step == "code") {
    application.code = 1;
  } else {
    SBENCH_CHECK(step == "config");
    application.config = 1;
  }
  return application;
}

Status run(Case& c) {
  const ImageScale scale = image_scale(c);
  const std::string& step = c.params().text("step");
  SBENCH_TRY_SET(const LayerId base, pulled_image(c, scale, LayerStep::base));
  const auto second_steps = build_steps(c, scale, changed_at(step));
  SBENCH_TRY(warm_layers(c, scale, second_steps));
  Scratch scratch(c);
  BuildCache cache;
  SBENCH_TRY_SET(const LayerId before, built_application(c, cache, scale));
  SBENCH_TRY(quiet(c));

  BuildOutcome second;
  SBENCH_TRY(c.timed("rebuild", [&]() -> Status {
    SBENCH_TRY_SET(second, build_image(c, scratch, cache, scale, base, second_steps));
    return c.driver().sync();
  }));
  SBENCH_TRY(c.settle());
  c.app_wrote(second.bytes_written);
  c.metric("cache_hits", static_cast<double>(second.hits));
  c.metric("cache_misses", static_cast<double>(second.misses));
  c.metric("bytes_shared", static_cast<double>(second.bytes_shared));

  const std::uint64_t misses = step == "dependencies" ? 3 : step == "code" ? 2 : 1;
  SBENCH_TRY(verify(second.misses == misses && second.hits == 4 - misses,
                    "the changed step and all after it are made anew, and no other"));
  SBENCH_TRY(verify_build(c, scale, second.top, second_steps));
  SBENCH_TRY(verify_build(c, scale, before, build_steps(c, scale, {})));
  return scratch.remove_all();
}

const RegisterWorkload kRegistered{{
    .name = "cache_reuse.rebuild",
    .summary = "building again after one step of the Dockerfile changed",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"step",
                "the step that changed",
                {{{"dependencies", "code", "config"},
                  {"dependencies", "code"},
                  {"dependencies", "code", "config"},
                  {"dependencies", "code", "config"}}}},
               {"image", "size of the image", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
