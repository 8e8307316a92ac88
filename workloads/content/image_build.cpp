#include "workloads/content/image_build.h"

#include "drivers/base/hash.h"
#include "workloads/content/base_image.h"
#include "workloads/content/layer_store.h"

namespace sbench {
namespace {

std::string base_key(const Case& c) {
  return BuildCache::key("", "FROM base", c.image() != nullptr ? c.image()->digest : std::to_string(content_seed(c)));
}

std::vector<const ImageLayer*> base_layers(const Case& c, ImageScale scale) {
  std::vector<const ImageLayer*> layers;
  for (const LayerSpec& spec : image_specs(c, scale, LayerStep::base)) {
    layers.push_back(&image_layer(spec));
  }
  return layers;
}

}  // namespace

Result<std::string> layer_checksum(const LayerSpec& spec) {
  Sha256 hash;
  const ImageLayer& layer = image_layer(spec);
  for (const auto& path : layer.deletions) {
    hash.update(fmt::format("delete {}\n", path));
  }
  for (const auto& entry : layer.entries) {
    hash.update(fmt::format("{} {:o} {} {} {} {} {} {}\n", entry.path, entry.mode, entry.uid, entry.gid,
                            entry.size_bytes, entry.link_target, entry.hard_link_target, entry.xattrs.size()));
  }
  SBENCH_TRY_SET(const auto content, layer_content(spec));
  hash.update(content);
  return hash.finish();
}

std::vector<BuildStep> build_steps(const Case& c, ImageScale scale, const Application& application) {
  const std::string requirements = fmt::format("requirements {} {}", content_seed(c), application.dependencies);
  const auto code = layer_checksum(image_spec(c, scale, LayerStep::code, application.code));
  SBENCH_CHECK(code.ok());  // in memory, from our own generator
  return {
      {LayerStep::packages, 0, "RUN apt-get install -y python3 build-essential", ""},
      {LayerStep::dependencies, application.dependencies, "COPY requirements.txt . ; RUN pip install",
       sha256_hex(requirements)},
      {LayerStep::code, application.code, "COPY src /srv/app", *code},
      {LayerStep::config, application.config, fmt::format("ENTRYPOINT [\"/srv/app/main-{}\"]", application.config), ""},
  };
}

Status build_layer(Driver& driver, const LayerId& name, const LayerId& key, const LayerId& parent,
                   const LayerSpec& spec) {
  SBENCH_TRY_SET(const auto content, layer_content(spec));
  SBENCH_TRY(driver.prepare(key, parent));
  SBENCH_TRY_SET(Mount mount, driver.mount(key));
  SBENCH_TRY(write_layer(mount.path(), image_layer(spec), content));
  SBENCH_TRY(mount.release());
  return driver.commit(name, key);
}

Result<BuildOutcome> build_image(Case& c, Scratch& scratch, BuildCache& cache, ImageScale scale, const LayerId& base,
                                 const std::vector<BuildStep>& steps) {
  BuildOutcome outcome;
  outcome.top = base;
  for (const auto* layer : base_layers(c, scale)) {
    outcome.bytes_shared += layer->content_bytes;
  }
  std::string key = base_key(c);
  cache.reset_counts();
  for (const auto& step : steps) {
    const LayerSpec spec = image_spec(c, scale, step.step, step.revision);
    key = BuildCache::key(key, step.instruction, step.content_checksum);
    if (const auto known = cache.find(key)) {
      outcome.top = *known;
      outcome.bytes_shared += image_layer(spec).content_bytes;
      continue;
    }
    const LayerId name = c.unique_id("built");
    scratch.adopt(name);
    SBENCH_TRY(build_layer(c.driver(), name, name, outcome.top, spec));
    cache.insert(key, name);
    outcome.top = name;
    outcome.bytes_written += image_layer(spec).content_bytes;
  }
  outcome.hits = cache.hits();
  outcome.misses = cache.misses();
  return outcome;
}

Result<LayerId> built_application(Case& c, BuildCache& cache, ImageScale scale) {
  SBENCH_TRY_SET(LayerId below, pulled_image(c, scale, LayerStep::base));
  std::string key = base_key(c);
  for (const auto& step : build_steps(c, scale, {})) {
    const LayerId name = fmt::format("built-{}-{}", to_string(scale), to_string(step.step));
    SBENCH_TRY(c.fixture(name, [&] {
      return build_layer(c.driver(), name, name + ".new", below, image_spec(c, scale, step.step, step.revision));
    }));
    key = BuildCache::key(key, step.instruction, step.content_checksum);
    cache.insert(key, name);
    below = name;
  }
  return below;
}

Status warm_layers(const Case& c, ImageScale scale, const std::vector<BuildStep>& steps) {
  for (const auto& step : steps) {
    const auto content = layer_content(image_spec(c, scale, step.step, step.revision));
    SBENCH_TRY(content.ok() ? Status() : Status(content.error()));
  }
  return {};
}

Status verify_build(Case& c, ImageScale scale, const LayerId& top, const std::vector<BuildStep>& steps) {
  std::vector<const ImageLayer*> layers = base_layers(c, scale);
  for (const auto& step : steps) {
    layers.push_back(&image_layer(image_spec(c, scale, step.step, step.revision)));
  }
  SBENCH_TRY_SET(Mount mount, c.driver().mount(top));
  SBENCH_TRY(verify_image(mount.path(), merge_layers(layers), check_depth(scale), c.rng("verify")));
  return mount.release();
}

}  // namespace sbench
