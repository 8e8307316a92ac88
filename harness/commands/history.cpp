// history.cpp: `sbench history`: the runs of a machine or a fleet, kept in one database.
#include <CLI/CLI.hpp>

#include "harness/forwarded.h"

namespace sbench {
namespace {

constexpr const char* kDatabase = "file of the history, or postgresql://USER@HOST/NAME; default: $SBENCH_HISTORY, "
                                  "or /var/lib/sbench/history.sqlite";

CLI::App* add_action(CLI::App& command, const std::string& name, const std::string& summary) {
  CLI::App* action = command.add_subcommand(name, summary);
  add_word(*action, "--history", "DB", kDatabase);
  return action;
}

}  // namespace

void add_history_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("history", "Keep runs in SQLite or PostgreSQL: import, export, list, trend");
  command->require_subcommand(1);
  CLI::App* import = add_action(*command, "import", "Add results; those already there are left as they are");
  add_words(*import, "result", "RESULT", "result.json (or .gz) of sbench run, its folder, or an exported history")->required();
  CLI::App* exported = add_action(*command, "export", "Write all runs and acknowledgements as JSON lines");
  add_word(*exported, "-o,--output", "FILE", "default: stdout; compressed when it ends in .gz");
  add_word(*exported, "--machine", "ID", "only this machine");
  CLI::App* list = add_action(*command, "list", "Show what is kept, environment by environment");
  add_choice(*list, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  add_word(*list, "--machine", "ID", "only this machine");
  CLI::App* trend = add_action(*command, "trend", "Level, change points and smallest detectable effect of every series");
  add_word(*trend, "--machine", "ID", "only this machine; needed where the history has several");
  add_words(*trend, "--series", "NAME", "only series whose name matches this pattern (* for any letters), repeatable");
  add_choice(*trend, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  add_word(*trend, "-o,--output", "FILE", "draw the trend as .svg or .png");
  for (CLI::App* action : {import, exported, list, trend}) {
    forward_to_reports(*action, context);
  }
}

}  // namespace sbench
