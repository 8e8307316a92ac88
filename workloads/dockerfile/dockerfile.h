// dockerfile.h: a Dockerfile as plain values.
//
// Understood are FROM, RUN, COPY, ADD (files, not URLs), ENV, WORKDIR, USER, LABEL, CMD,
// ENTRYPOINT, ARG, several stages, the escape directive, and variables as Docker expands
// them: ${V}, ${V:-word}, ${V:+word}. Whatever else is written is an error with its line:
// nothing is skipped, because a build that leaves a line out measures something else.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace sbench {

enum class InstructionKind { run, copy, add, env, workdir, user, label, cmd, entrypoint, arg };
[[nodiscard]] const char* to_string(InstructionKind kind);
/// Whether building it leaves a layer; the others only say how containers run.
[[nodiscard]] bool makes_layer(InstructionKind kind);

struct Instruction {
  InstructionKind kind = InstructionKind::run;
  unsigned line = 0;
  /// What the build cache compares: the keyword and its text, variables expanded where Docker does.
  /// For RUN, the stage's ARG values lead, as a changed argument may change what it does.
  std::string text;
  /// RUN, CMD, ENTRYPOINT: the arguments of an exec form, else one shell line. COPY, ADD: sources
  /// and, last, the target. WORKDIR, USER: one word.
  std::vector<std::string> words;
  bool exec_form = false;
  std::map<std::string, std::string> flags;  ///< COPY, ADD: "from", "chown", "chmod"
  std::map<std::string, std::string> arguments;  ///< RUN: the stage's ARG values, which it sees as variables
};

struct BuildStage {
  std::string base;  ///< an image's name, or the name or number of an earlier stage
  int base_stage = -1;  ///< that stage; -1: an image
  std::string name;
  unsigned line = 0;
  std::vector<Instruction> instructions;
};

struct Dockerfile {
  std::vector<BuildStage> stages;  ///< the last one is what is built
  /// The stages that stage `wanted` needs, itself included, in the order to build them.
  [[nodiscard]] std::vector<std::size_t> needed_by(std::size_t wanted) const;
};

/// Throws UsageError "FILE:LINE: …" for anything it does not understand. `arguments` are --build-arg values.
[[nodiscard]] Dockerfile parse_dockerfile(const std::string& text, const std::string& file,
                                          const std::map<std::string, std::string>& arguments = {});

}  // namespace sbench
