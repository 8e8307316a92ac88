// dump.cpp: `sbench dump`: the structure of a user-space engine's store as text that `sbench restore` reads back.
#include <CLI/CLI.hpp>
#include <memory>

#include "harness/cli.h"
#include "harness/engine_store.h"

namespace sbench {
namespace {

Status dump_store(const std::string& place, const std::string& engine, Console& console) {
  SBENCH_TRY_SET(const EngineStore store, open_engine_store(place, engine, false));
  SBENCH_TRY(store.format->dump(*store.io, [&console](std::string_view line) -> Status {
    console.out << line;
    return console.out.good() ? Status() : Status(plain_error(EIO, "cannot write to standard output"));
  }));
  console.out << std::flush;
  return {};
}

}  // namespace

void add_dump_command(CLI::App& program, CommandContext& context) {
  auto place = std::make_shared<std::string>();
  auto engine = std::make_shared<std::string>();
  CLI::App* command = program.add_subcommand("dump", "Print the structure of a user-space engine's store as text");
  command->add_option("place", *place, "block device, image file, or folder of a layer store")->required();
  command->add_option("--engine", *engine, "whose store it is, when it cannot be recognised")
      ->check(CLI::IsMember(store_format_names()));
  command->callback([place, engine, &context] {
    if (const Status done = dump_store(*place, *engine, context.console); !done.ok()) {
      context.console.err << "sbench: " << done.error().what << "\n";
      context.exit_code = done.error().code == ENODATA || done.error().code == EBUSY ? kExitNothingRan : kExitError;
    }
  });
}

}  // namespace sbench
