// forwarded.h: commands whose work the Python side does. The C++ side declares the
// options, so that help, manual and completion know them, and passes them on as typed.
#pragma once

#include <string>
#include <vector>

#include "harness/cli.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sbench {

/// An option with a value that stays a word; `name` as CLI11 takes it ("-o,--output"),
/// `value` what stands for it in the help. Positional when `name` has no dash.
CLI::Option* add_word(CLI::App& command, const std::string& name, const std::string& value, const std::string& help);

/// The same, any number of times.
CLI::Option* add_words(CLI::App& command, const std::string& name, const std::string& value, const std::string& help);

/// The same, one of `choices`.
CLI::Option* add_choice(CLI::App& command, const std::string& name, const std::vector<std::string>& choices,
                        const std::string& help);

/// Makes `command` run `python3 -m reports NAME WORDS…`, NAME being its own and WORDS
/// what was typed; streams and exit code come back unchanged. `reports/commands/`
/// must know the same options.
void forward_to_reports(CLI::App& command, CommandContext& context);

}  // namespace sbench
