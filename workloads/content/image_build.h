// image_build.h: building an image step by step, as a Dockerfile says, with a build cache.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "workloads/content/build_cache.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"

namespace sbench {

/// One line of the Dockerfile after FROM.
struct BuildStep {
  LayerStep step = LayerStep::packages;
  unsigned revision = 0;
  std::string instruction;       ///< "RUN apt-get install …"
  std::string content_checksum;  ///< of the files the step takes in; empty for none
};

/// What changes between two builds of the application.
struct Application {
  unsigned dependencies = 0;  ///< revision of the requirements file
  unsigned code = 0;          ///< revision of the source files
  unsigned config = 0;        ///< revision of the entry point
};

/// packages, dependencies, code, config of an application on the base of `scale`.
[[nodiscard]] std::vector<BuildStep> build_steps(const Case& c, ImageScale scale, const Application& application);

/// SHA-256 over the paths, metadata and content of a layer.
[[nodiscard]] Result<std::string> layer_checksum(const LayerSpec& spec);

/// Makes the layer of one step: prepare on `parent`, mount, write, unmount, commit as `name`.
[[nodiscard]] Status build_layer(Driver& driver, const LayerId& name, const LayerId& key, const LayerId& parent,
                                 const LayerSpec& spec);

struct BuildOutcome {
  LayerId top;
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t bytes_shared = 0;   ///< content of the layers that were hits
  std::uint64_t bytes_written = 0;  ///< content of the layers that were built
};

/// Builds `steps` on `base`, taking from `cache` what it knows. New layers belong to `scratch`.
[[nodiscard]] Result<BuildOutcome> build_image(Case& c, Scratch& scratch, BuildCache& cache, ImageScale scale,
                                               const LayerId& base, const std::vector<BuildStep>& steps);

/// The application of revision 0 built on the base, as fixtures of this store, and entered
/// into `cache`: what a build finds that is not the first. Returns its top layer.
[[nodiscard]] Result<LayerId> built_application(Case& c, BuildCache& cache, ImageScale scale);

/// Makes every layer's bytes before anything is timed.
[[nodiscard]] Status warm_layers(const Case& c, ImageScale scale, const std::vector<BuildStep>& steps);

/// Whether the tree of layer `top` is the base with `steps` on it.
[[nodiscard]] Status verify_build(Case& c, ImageScale scale, const LayerId& top, const std::vector<BuildStep>& steps);

}  // namespace sbench
