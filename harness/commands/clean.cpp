// clean.cpp: `sbench clean`: undoes what earlier processes left in the kernel.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "drivers/leftovers.h"
#include "harness/cli.h"
#include "harness/journal.h"
#include "harness/session.h"

namespace sbench {
namespace {

int clean_command(Console& console) {
  int code = kExitOk;
  bool found = false;
  for (const auto& directory : journal_entries()) {
    if (is_mounted_elsewhere(directory)) {
      console.out << fmt::format("left {}, mounted in another mount namespace: run sbench clean there\n", directory.string());
      found = true;
      continue;
    }
    const auto unmounted = unmount_below(directory / "root");
    if (!unmounted.ok()) {
      console.err << fmt::format("sbench: {}; stop what uses it and run sbench clean again\n", unmounted.error().what);
      code = kExitError;
      continue;
    }
    std::error_code ignored;
    std::filesystem::remove(directory / "kept", ignored);
    if (const Status removed = journal_remove(directory); !removed.ok()) {
      console.err << "sbench: " << removed.error().what << "\n";
      code = kExitError;
      continue;
    }
    console.out << fmt::format("unmounted {} ({} mounts)\n", directory.string(), *unmounted);
    found = true;
  }
  const auto ended = end_abandoned_sessions();  // first: what they hold cannot be removed
  if (!ended.ok()) {
    console.err << fmt::format("sbench: {}\n", ended.error().what);
    return kExitError;
  }
  for (const auto& name : *ended) {
    console.out << fmt::format("ended {}\n", name);
  }
  const auto undone = undo_leftovers();
  if (!undone.ok()) {
    console.err << fmt::format("sbench: {}; stop what uses it and run sbench clean again\n", undone.error().what);
    return kExitError;
  }
  for (const auto& name : *undone) {
    console.out << fmt::format("removed {}\n", name);
  }
  if (!found && ended->empty() && undone->empty() && code == kExitOk) {
    console.out << "nothing to clean\n";
  }
  return code;
}

}  // namespace

void add_clean_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("clean", "Undo what a killed run or a kept mount left in the kernel");
  command->callback([&context] { context.exit_code = clean_command(context.console); });
}

}  // namespace sbench
