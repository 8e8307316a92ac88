// command_tree.h: the program's commands and options as plain values, read off its
// CLI11 tree, for what is generated from them: shell completion and the manual page.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sbench {

struct OptionFacts {
  std::vector<std::string> names;    ///< "-o", "--output"; empty for a positional
  std::string value;                 ///< what stands for its value; empty for a flag
  std::vector<std::string> choices;  ///< the only values it takes; empty: any
  std::string help;
  std::string default_value;
  bool required = false;

  [[nodiscard]] bool positional() const { return names.empty(); }
};

struct CommandFacts {
  std::vector<std::string> path;  ///< {"layer", "prepare"}; empty for the program itself
  std::string summary;
  std::vector<OptionFacts> options;
  std::vector<CommandFacts> commands;  ///< below it
};

/// Everything that is not hidden, in the order of the help. Options named --driver and
/// --workload and --profile get the words this build knows as choices, though they take others too.
[[nodiscard]] CommandFacts command_tree(const CLI::App& program);

/// A completion script for "bash", "zsh" or "fish".
[[nodiscard]] std::string completion_script(const CommandFacts& program, const std::string& shell);

/// The manual page, as troff.
[[nodiscard]] std::string manual_page(const CommandFacts& program);

}  // namespace sbench
