#include "harness/cli.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

/// CLI11 only says that a subcommand is missing; this says which word is none.
void refuse_unknown_command(const CLI::App& program, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) {
    return;
  }
  std::vector<std::string> known;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == arguments.front()) {
      return;
    }
    known.push_back(command->get_name());
  }
  throw UsageError("unknown command '{}'; commands: {}", arguments.front(), fmt::join(known, ", "));
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments, Console& console) {
  CommandContext context{console, arguments, kExitOk};
  CLI::App program("Which container storage driver should this machine use, and did it get slower last night?", "sbench");
  program.require_subcommand(1);
  program.set_version_flag("--version", std::string("sbench ") + SBENCH_VERSION);
  program.get_formatter()->column_width(32);
  add_run_command(program, context);
  add_list_command(program, context);
  add_doctor_command(program, context);
  add_layer_command(program, context);
  add_explain_command(program, context);
  add_image_command(program, context);
  add_report_command(program, context);
  add_compare_command(program, context);
  add_history_command(program, context);
  add_gate_command(program, context);
  add_selftest_command(program, context);
  add_choose_command(program, context);
  add_validate_command(program, context);
  add_check_command(program, context);
  add_dump_command(program, context);
  add_restore_command(program, context);
  add_clean_command(program, context);
  add_soak_command(program, context);
  add_completion_command(program, context);
  try {
    refuse_unknown_command(program, arguments);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
    program.parse(reversed);
    return context.exit_code;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
      program.exit(error, console.out, console.err);
      return kExitOk;
    }
    std::string text = error.what();
    text.resize(std::min(text.size(), text.find('\n')));
    console.err << "sbench: " << text << " (see sbench --help)\n";
    return kExitUsage;
  } catch (const UsageError& error) {
    console.err << "sbench: " << error.what() << "\n";
    return kExitUsage;
  }
}

}  // namespace sbench
