// choose.cpp: `sbench choose`: which driver for which use, here or on a distribution.
#include <CLI/CLI.hpp>

#include "harness/forwarded.h"

namespace sbench {

void add_choose_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("choose", "Rank drivers for a use, here or on a distribution, with reasons");
  add_words(*command, "result", "RESULT", "measured results: result.json of sbench run, or its folder; several runs or machines");
  add_word(*command, "--history", "DB", "take measured results from this history");
  add_word(*command, "--use", "NAME", "only this use case; an unknown name lists all");
  add_word(*command, "--distro", "NAME", "what this distribution ships decides what can run; an unknown name lists all");
  add_word(*command, "--use-cases", "FILE", "use cases and their weights, in place of reports/use_cases.ini");
  command->add_flag("--distros")->description("show the table of distributions with sources, and end");
  add_choice(*command, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  forward_to_reports(*command, context);
}

}  // namespace sbench
