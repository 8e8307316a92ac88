// restore.cpp: `sbench restore`: makes the structure of a user-space engine's store again from `sbench dump`'s text.
//
// Apart from dump, because it overwrites: the store's metadata, never its data.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <memory>

#include "drivers/base/usage_error.h"
#include "harness/cli.h"
#include "harness/engine_store.h"

namespace sbench {
namespace {

struct RestoreFlags {
  std::string place;
  std::string file = "-";
  std::string engine;
  bool wipe = false;
  bool yes = false;
};

Status restore_store(const RestoreFlags& flags, Console& console) {
  SBENCH_TRY_SET(const EngineStore store, open_engine_store(flags.place, flags.engine, true));
  if (!store.signatures.empty() && !flags.wipe) {
    throw UsageError("{} carries {}; add --wipe to overwrite it, or name another place", store.path,
                     fmt::join(store.signatures, ", "));
  }
  if (!flags.yes) {
    throw UsageError("the metadata on {} will be overwritten; add --yes when that is meant", store.path);
  }
  std::ifstream file;
  if (flags.file != "-") {
    file.open(flags.file);
    if (!file) {
      return errno_error("cannot open {}", flags.file);
    }
  }
  SBENCH_TRY(store.format->restore(*store.io, flags.file == "-" ? console.in : file));
  console.err << fmt::format("restored {} on {}; check it with: sbench check {}\n", store.format->name, store.path,
                             store.path);
  return {};
}

}  // namespace

void add_restore_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<RestoreFlags>();
  CLI::App* command = program.add_subcommand("restore", "Make a store's structure again from the text that dump printed");
  command->add_option("place", flags->place, "block device, image file, or folder of a layer store")->required();
  command->add_option("file", flags->file, "the text; - reads standard input")->capture_default_str();
  command->add_option("--engine", flags->engine, "whose store it is, when it cannot be recognised")
      ->check(CLI::IsMember(store_format_names()));
  command->add_flag("--wipe", flags->wipe, "allow another file system's signature to be overwritten");
  command->add_flag("--yes", flags->yes, "do overwrite the store's metadata");
  command->callback([flags, &context] {
    if (const Status done = restore_store(*flags, context.console); !done.ok()) {
      context.console.err << "sbench: " << done.error().what << "\n";
      context.exit_code = done.error().code == ENODATA || done.error().code == EBUSY ? kExitNothingRan : kExitError;
    }
  });
}

}  // namespace sbench
