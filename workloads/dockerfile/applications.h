// applications.h: the Dockerfiles that `cache_reuse.dockerfiles` builds.
//
// An input of the whole process, as the command line is: set once, before any case runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "workloads/dockerfile/context.h"
#include "workloads/dockerfile/dockerfile.h"
#include "workloads/dockerfile/run_step.h"

namespace sbench {

struct DockerApplication {
  std::string name;  ///< the Dockerfile's path as given
  Dockerfile file;
  BuildContext context;  ///< the folder the Dockerfile lies in
};

/// Reads `files`, each with FILE.dockerignore or else the folder's .dockerignore. Throws UsageError for one that cannot be
/// read, is not understood, or takes in what is not there.
[[nodiscard]] std::vector<DockerApplication> read_applications(const std::vector<std::filesystem::path>& files);

/// What will be built; the pair of examples/two-apps in the source tree until this is called.
void set_applications(std::vector<DockerApplication> applications);
[[nodiscard]] const std::vector<DockerApplication>& applications();

/// How their RUN steps are taken; by replay until this is called.
void set_run_steps(const RunSteps& steps);
[[nodiscard]] const RunSteps& run_steps();

}  // namespace sbench
