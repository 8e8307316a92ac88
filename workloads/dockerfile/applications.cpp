#include "workloads/dockerfile/applications.h"

#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

std::vector<DockerApplication>& chosen() {
  static std::vector<DockerApplication> all;
  return all;
}

RunSteps& chosen_steps() {
  static RunSteps steps;
  return steps;
}

}  // namespace

std::vector<DockerApplication> read_applications(const std::vector<std::filesystem::path>& files) {
  std::vector<DockerApplication> all;
  for (const auto& file : files) {
    const auto text = read_text(file);
    if (!text.ok()) {
      throw UsageError("{}", text.error().what);
    }
    auto context = BuildContext::open(file.has_parent_path() ? file.parent_path() : std::filesystem::path("."));
    if (!context.ok()) {
      throw UsageError("{}", context.error().what);
    }
    all.push_back({file.string(), parse_dockerfile(*text, file.string()), std::move(context).value()});
  }
  return all;
}

void set_applications(std::vector<DockerApplication> applications) { chosen() = std::move(applications); }

const std::vector<DockerApplication>& applications() {
  if (chosen().empty()) {
    const std::filesystem::path folder = std::filesystem::path(SBENCH_SOURCE_DIR) / "examples/two-apps";
    chosen() = read_applications({folder / "web.Dockerfile", folder / "worker.Dockerfile"});
  }
  return chosen();
}

void set_run_steps(const RunSteps& steps) { chosen_steps() = steps; }

const RunSteps& run_steps() { return chosen_steps(); }

}  // namespace sbench
