// dockerfiles.cpp: Dockerfiles built one after another with one build cache, and again after a file changed.
//
// pair: the first application is built, then, timed, all others; what the first made is found.
// touch_first, touch_last: the first application is built again, timed, as if a file that its
// first (dependencies) or last (code) COPY takes in had changed.
#include <algorithm>

#include "workloads/dockerfile/build.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

/// The COPY and ADD lines of the last stage.
std::vector<unsigned> copy_lines(const DockerApplication& application) {
  std::vector<unsigned> lines;
  for (const auto& instruction : application.file.stages.back().instructions) {
    if (instruction.kind == InstructionKind::copy || instruction.kind == InstructionKind::add) {
      lines.push_back(instruction.line);
    }
  }
  return lines;
}

/// Layers of the last stage from `line` on: what a change there must make anew.
std::uint64_t layers_from(const DockerApplication& application, unsigned line) {
  const auto& all = application.file.stages.back().instructions;
  return static_cast<std::uint64_t>(std::count_if(all.begin(), all.end(), [&](const Instruction& instruction) {
    const bool makes = instruction.kind == InstructionKind::run || instruction.kind == InstructionKind::copy ||
                       instruction.kind == InstructionKind::add || instruction.kind == InstructionKind::workdir;
    return makes && instruction.line >= line;
  }));
}

void report(Case& c, const DockerBuild& build) {
  c.metric("layers_hit", static_cast<double>(build.layers_hit));
  c.metric("layers_made", static_cast<double>(build.layers_made));
  c.metric("bytes_shared", static_cast<double>(build.bytes_hit));
  c.metric("bytes_made", static_cast<double>(build.bytes_made));
  c.app_wrote(build.bytes_made);
}

Status run_pair(Case& c, DockerBuilder& builder, const DockerBuild& first, double first_s) {
  DockerBuild others;
  const std::uint64_t start_ns = Case::clock_ns();
  for (std::size_t i = 1; i < applications().size(); ++i) {
    SBENCH_TRY_SET(const DockerBuild one, builder.build(applications()[i], true));
    others.layers_hit += one.layers_hit;
    others.layers_made += one.layers_made;
    others.bytes_hit += one.bytes_hit;
    others.bytes_made += one.bytes_made;
    others.top = one.top;
  }
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  const double others_s = static_cast<double>(Case::clock_ns() - start_ns) * 1e-9;
  SBENCH_TRY(c.settle());
  report(c, others);
  c.metric("saved_s", first_s - others_s);
  if (!others.top.empty()) {
    SBENCH_TRY(builder.verify(applications().back(), others));
  }
  SBENCH_TRY(builder.verify(applications().front(), first));
  SBENCH_TRY_SET(const DockerBuild again, builder.build(applications().front(), false));
  return verify(again.layers_made == 0 && again.top == first.top, "what was built is found again, all of it");
}

Status run_touched(Case& c, DockerBuilder& builder, const DockerBuild& first, unsigned line) {
  SBENCH_TRY_SET(const DockerBuild second, builder.build(applications().front(), true, line));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  report(c, second);
  const std::uint64_t expected = layers_from(applications().front(), line);
  SBENCH_TRY(verify(second.layers_made == expected,
                    fmt::format("the changed step and all after it are made anew, and no other: {} layers, not {}",
                                expected, second.layers_made)));
  SBENCH_TRY(verify(second.layers_hit + expected == first.layers_hit + first.layers_made, "all before it are found"));
  return builder.verify(applications().front(), second);
}

Status run(Case& c) {
  const std::string& scenario = c.params().text("scenario");
  const auto lines = copy_lines(applications().front());
  if (scenario != "pair" && lines.empty()) {
    return plain_error(EINVAL, "{}: its last stage has no COPY whose files could change", applications().front().name);
  }
  Scratch scratch(c);
  DockerBuilder builder(c, scratch, image_scale(c));
  SBENCH_TRY_SET([[maybe_unused]] const LayerId base, pulled_image(c, image_scale(c), LayerStep::base));
  const std::uint64_t start_ns = Case::clock_ns();
  DockerBuild first;
  SBENCH_TRY(c.phase("first_build", [&]() -> Status {
    SBENCH_TRY_SET(first, builder.build(applications().front(), false));
    return c.driver().sync();
  }));
  const double first_s = static_cast<double>(Case::clock_ns() - start_ns) * 1e-9;
  SBENCH_TRY(quiet(c));
  SBENCH_TRY(scenario == "pair" ? run_pair(c, builder, first, first_s)
                                : run_touched(c, builder, first, scenario == "touch_first" ? lines.front() : lines.back()));
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const std::vector<std::string> kScenarios = {"pair", "touch_first", "touch_last"};

const RegisterWorkload kRegistered{{
    .name = "cache_reuse.dockerfiles",
    .summary = "Dockerfiles built with one cache, and built again after a file changed",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"scenario",
                "pair: the second application; touch_*: the first again, its first or last COPY changed",
                {{{"pair"}, {"pair"}, kScenarios, kScenarios}}},
               {"image", "size of the base and of what RUN makes", {{{"tiny"}, {"small"}, {"full"}, {"full"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
