#include "harness/forwarded.h"

#include <CLI/CLI.hpp>

#include "harness/reports.h"

namespace sbench {
namespace {

/// What was typed, in the order of declaration; positionals last, so that none is taken for an option.
std::vector<std::string> typed_words(const CLI::App& command) {
  std::vector<std::string> words;
  std::vector<std::string> positionals;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0 || option == command.get_help_ptr()) {
      continue;
    }
    const bool positional = !option->nonpositional();
    const bool flag = option->get_expected_max() == 0;
    for (const std::string& value : option->results()) {
      if (positional) {
        positionals.push_back(value);
      } else if (flag) {
        words.push_back(option->get_name());
      } else {
        words.push_back(option->get_name() + "=" + value);
      }
    }
  }
  if (!positionals.empty()) {
    words.emplace_back("--");
    words.insert(words.end(), positionals.begin(), positionals.end());
  }
  return words;
}

/// {"history", "import"}: the names from the program down to `command`.
std::vector<std::string> command_path(const CLI::App& command) {
  std::vector<std::string> path;
  for (const CLI::App* each = &command; each->get_parent() != nullptr; each = each->get_parent()) {
    path.insert(path.begin(), each->get_name());
  }
  return path;
}

}  // namespace

CLI::Option* add_word(CLI::App& command, const std::string& name, const std::string& value, const std::string& help) {
  return command.add_option(name)->description(help)->type_name(value);
}

CLI::Option* add_words(CLI::App& command, const std::string& name, const std::string& value, const std::string& help) {
  CLI::Option* option = add_word(command, name, value, help);
  return option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args(!option->nonpositional());
}

CLI::Option* add_choice(CLI::App& command, const std::string& name, const std::vector<std::string>& choices,
                        const std::string& help) {
  return command.add_option(name)->description(help)->type_name("TEXT")->check(CLI::IsMember(choices));
}

void forward_to_reports(CLI::App& command, CommandContext& context) {
  command.callback([&command, &context] {
    std::vector<std::string> arguments = command_path(command);
    const std::vector<std::string> words = typed_words(command);
    arguments.insert(arguments.end(), words.begin(), words.end());
    const auto output = run_reports(arguments, {context.console.columns, context.console.out_is_terminal},
                                    [&](std::string_view text) { context.console.err << text << std::flush; });
    if (!output.ok()) {
      context.console.err << "sbench: " << output.error().what << "\n";
      context.exit_code = kExitError;
      return;
    }
    context.console.out << output->stdout_text << std::flush;
    context.exit_code = output->exit_code;
  });
}

}  // namespace sbench
