// cli.h: the sbench program as a function, so that tests run it in process.
#pragma once

#include <string>
#include <vector>

#include "harness/console.h"

namespace CLI {
class App;
}

namespace sbench {

/// Parses and carries out one command line (without the program's name) and
/// returns its exit code. Every error becomes one line on console.err.
[[nodiscard]] int run_cli(const std::vector<std::string>& arguments, Console& console);

/// What the commands share with the program.
struct CommandContext {
  Console& console;
  std::vector<std::string> arguments;  ///< as typed, for the record
  int exit_code = kExitOk;             ///< set by the command that ran
};

// One file each in commands/: adds its subcommand to the program.
void add_run_command(CLI::App& program, CommandContext& context);
void add_list_command(CLI::App& program, CommandContext& context);
void add_doctor_command(CLI::App& program, CommandContext& context);
void add_layer_command(CLI::App& program, CommandContext& context);
void add_explain_command(CLI::App& program, CommandContext& context);
void add_image_command(CLI::App& program, CommandContext& context);
void add_report_command(CLI::App& program, CommandContext& context);
void add_compare_command(CLI::App& program, CommandContext& context);
void add_history_command(CLI::App& program, CommandContext& context);
void add_gate_command(CLI::App& program, CommandContext& context);
void add_selftest_command(CLI::App& program, CommandContext& context);
void add_choose_command(CLI::App& program, CommandContext& context);
void add_validate_command(CLI::App& program, CommandContext& context);
void add_check_command(CLI::App& program, CommandContext& context);
void add_dump_command(CLI::App& program, CommandContext& context);
void add_restore_command(CLI::App& program, CommandContext& context);
void add_clean_command(CLI::App& program, CommandContext& context);
void add_soak_command(CLI::App& program, CommandContext& context);
void add_completion_command(CLI::App& program, CommandContext& context);

}  // namespace sbench
