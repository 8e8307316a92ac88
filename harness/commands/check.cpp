// check.cpp: `sbench check`: is a user-space engine's store whole? Reads only.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/cli.h"
#include "harness/engine_store.h"

namespace sbench {
namespace {

struct CheckFlags {
  std::string place;
  std::string engine;
  std::string format = "table";
};

void print_report(const EngineStore& store, const StoreReport& report, Console& console) {
  for (const auto& finding : report.findings) {
    console.out << "damage: " << finding << "\n";
  }
  for (const auto& note : report.notes) {
    console.out << "note: " << note << "\n";
  }
  for (const auto& [name, value] : report.figures) {
    console.out << fmt::format("{:<22} {}\n", name, value);
  }
  console.out << fmt::format("{} ({}): {}\n", store.path, store.format->name,
                             report.findings.empty() ? "whole" : fmt::format("{} findings", report.findings.size()));
}

void print_json(const EngineStore& store, const StoreReport& report, Console& console) {
  nlohmann::json document = {{"path", store.path},
                             {"engine", store.format->name},
                             {"whole", report.findings.empty()},
                             {"findings", report.findings},
                             {"notes", report.notes},
                             {"figures", nlohmann::json::object()}};
  for (const auto& [name, value] : report.figures) {
    document["figures"][name] = std::stoull(value);
  }
  console.out << document.dump(1) << "\n";
}

int check_command(const CheckFlags& flags, Console& console) {
  const auto store = open_engine_store(flags.place, flags.engine, false);
  if (!store.ok()) {
    console.err << "sbench: " << store.error().what << "\n";
    return store.error().code == ENODATA || store.error().code == EBUSY ? kExitNothingRan : kExitError;
  }
  const StoreReport report = store->format->check(*store->io);
  (flags.format == "json" ? print_json : print_report)(*store, report, console);
  return report.findings.empty() ? kExitOk : kExitError;
}

}  // namespace

void add_check_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<CheckFlags>();
  CLI::App* command = program.add_subcommand("check", "Check a user-space engine's store: exit code 1 when it is damaged");
  command->add_option("place", flags->place, "block device, image file, or folder of a layer store")->required();
  command->add_option("--engine", flags->engine, "whose store it is, when it cannot be recognised")
      ->check(CLI::IsMember(store_format_names()));
  command->add_option("--format", flags->format, "how to print the verdict")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json"}));
  command->callback([flags, &context] { context.exit_code = check_command(*flags, context.console); });
}

}  // namespace sbench
