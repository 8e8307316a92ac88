// build.h: building a Dockerfile's last stage through a driver, step by step, with a build cache.
//
// Cache keys are Docker's: the parent's key, the instruction's text, and for COPY and ADD the
// checksum of what they take in (of a stage: the stage's key). RUN replays what was recorded of
// the step (recordings.h), else a generated change set whose size follows what the command looks
// like (a package manager, a language's installer, anything else); the same instruction on the
// same parent always makes the same changes. With run_steps().exec the command itself is run
// (run_step.h), and recorded.
#pragma once

#include <map>

#include "workloads/content/build_cache.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/dockerfile/applications.h"

namespace sbench {

struct DockerBuild {
  LayerId top;  ///< of the last stage
  std::uint64_t layers_hit = 0;
  std::uint64_t layers_made = 0;
  std::uint64_t bytes_hit = 0;   ///< content of the layers found
  std::uint64_t bytes_made = 0;  ///< content of the layers made
  std::vector<std::string> made;  ///< "Dockerfile:7: COPY …" of each layer that was made
};

/// What the steps of all builds of one case share.
class DockerBuilder {
 public:
  /// `timed`: steps count in real_time. Phases are named "web.Dockerfile:5.copy.write", ….run.commit, and two metrics of each
  /// step that makes a layer say what came of it: ….copy.hit (1: it was found; 0: it was made) and ….copy.bytes (its content).
  DockerBuilder(Case& c, Scratch& scratch, ImageScale scale) : case_(c), scratch_(scratch), scale_(scale) {}

  /// `touched`, when not 0: the COPY or ADD in that line counts as if a file it takes in had changed.
  /// An error names the Dockerfile and the line.
  [[nodiscard]] Result<DockerBuild> build(const DockerApplication& application, bool timed, unsigned touched = 0);

  /// Whether the tree of `build` holds what the last stage's own COPY and RUN steps put there last.
  [[nodiscard]] Status verify(const DockerApplication& application, const DockerBuild& build);

 private:
  struct StageResult {
    ParentId top;
    std::string key;
    std::string workdir = "/";
    std::string user;  ///< as USER gave it
    std::map<std::string, std::string> environment;
    std::shared_ptr<const std::string> recorded;  ///< of the RUN at hand; null: none
  };
  [[nodiscard]] Result<StageResult> start_stage(const BuildStage& stage, const std::vector<StageResult>& earlier);
  [[nodiscard]] Status take_step(const DockerApplication& application, const Instruction& instruction,
                                 const std::vector<StageResult>& earlier, StageResult& stage, DockerBuild& build,
                                 bool timed, unsigned touched);
  [[nodiscard]] Result<std::uint64_t> write_step(const DockerApplication& application, const Instruction& instruction,
                                                 const std::vector<StageResult>& earlier, const StageResult& stage,
                                                 const std::filesystem::path& root);
  /// RUN for real.
  [[nodiscard]] static Status run_command(const Instruction& instruction, const StageResult& stage,
                                          const std::filesystem::path& root);
  [[nodiscard]] LayerSpec change_set(const Instruction& instruction, const std::string& key) const;
  /// Returns the bytes of the layer's tar.
  [[nodiscard]] Result<std::uint64_t> make_layer(const LayerId& id, const std::string& prefix, const ParentId& parent, bool timed,
                                  const std::function<Status(const std::filesystem::path&)>& write);

  Case& case_;
  Scratch& scratch_;
  ImageScale scale_;
  BuildCache cache_;
  std::map<LayerId, std::uint64_t> bytes_;  ///< content of each layer made
};

}  // namespace sbench
