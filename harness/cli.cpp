#include "harness/cli.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "drivers/base/usage_error.h"

namespace sbench {

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
  add_report_command(program, context);
  add_clean_command(program, context);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
    program.parse(reversed);
    return context.exit_code;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
      program.exit(error, console.out, console.err);
      return kExitOk;
    }
    std::string text = error.what();
    text = text.substr(0, text.find('\n'));
    console.err << "sbench: " << text << " (see sbench --help)\n";
    return kExitUsage;
  } catch (const UsageError& error) {
    console.err << "sbench: " << error.what() << "\n";
    return kExitUsage;
  }
}

}  // namespace sbench
