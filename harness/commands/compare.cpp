// compare.cpp: `sbench compare`: is B slower than A; and `sbench validate`.
#include <CLI/CLI.hpp>

#include "harness/forwarded.h"

namespace sbench {

void add_compare_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("compare", "Say whether B is slower than A: two results, or two drivers of one");
  add_words(*command, "result", "RESULT", "A and B; or one result and two --driver")->required();
  add_words(*command, "--driver", "NAME", "only this driver; given twice: the first is A, the second B");
  add_words(*command, "--workload", "NAME", "only this family or workload, repeatable");
  command->add_flag("--absolute")->description("compare seconds, not ratios to native (same hardware only)");
  add_word(*command, "--floor", "PERCENT", "smaller effects are no regression (default: 2.5)");
  add_word(*command, "--precision", "PERCENT", "'no difference' rules out one of this size (default: 10)");
  add_choice(*command, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  forward_to_reports(*command, context);
}

void add_validate_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("validate", "Check result files against the schema");
  add_words(*command, "result", "RESULT", "result.json of sbench run, or its folder")->required();
  forward_to_reports(*command, context);
}

}  // namespace sbench
