// completion.cpp: `sbench completion`: what a shell needs to complete command lines, and the manual page.
#include <CLI/CLI.hpp>
#include <memory>

#include "harness/cli.h"
#include "harness/command_tree.h"

namespace sbench {

void add_completion_command(CLI::App& program, CommandContext& context) {
  auto form = std::make_shared<std::string>();
  CLI::App* command = program.add_subcommand("completion", "Print a completion script for a shell, or the manual page");
  command->add_option("form", *form, "bash, zsh, fish or man")->required()->check(CLI::IsMember({"bash", "zsh", "fish", "man"}));
  command->callback([form, &program, &context] {
    const CommandFacts facts = command_tree(program);
    context.console.out << (*form == "man" ? manual_page(facts) : completion_script(facts, *form)) << std::flush;
  });
}

}  // namespace sbench
