// list.cpp: `sbench list`: drivers with engines, options, reasons and remedies; workloads with parameters.
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "drivers/base/user_namespace.h"
#include "drivers/deviations.h"
#include "harness/cli.h"
#include "harness/plan.h"

namespace sbench {
namespace {

using nlohmann::json;

struct ListFlags {
  bool workloads_only = false;
  bool drivers_only = false;
  std::string format = "table";
};

std::string wrapped(const std::string& text, std::size_t indent, std::size_t columns) {
  std::string out;
  std::size_t column = indent;
  std::size_t start = 0;
  while (start < text.size()) {
    std::size_t end = text.find(' ', start);
    end = end == std::string::npos ? text.size() : end;
    if (column + (end - start) + 1 > columns && column > indent) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += text.substr(start, end - start);
    column += end - start;
    start = end + 1;
  }
  return out;
}

void print_drivers(Console& console) {
  const auto columns = static_cast<std::size_t>(std::clamp(console.columns, 60, 120));
  console.out << "Drivers\n";
  for (const auto& spec : driver_registry()) {
    const Availability availability = spec.probe(options_here(spec));
    const std::string state = availability.available ? to_string(actual_engine(availability.engine)) : "unavailable";
    console.out << fmt::format("  {:<13} {:<12} {}\n", spec.name, state, wrapped(spec.summary, 29, columns));
    if (!availability.available) {
      console.out << fmt::format("{:29}why: {}\n", "", wrapped(availability.reason, 34, columns));
      console.out << fmt::format("{:29}fix: {}\n", "", wrapped(availability.remedy, 34, columns));
    }
    for (const Deviation deviation : known_deviations(spec.name)) {
      console.out << fmt::format("{:29}deviates: {}\n", "", wrapped(to_string(deviation), 39, columns));
    }
    for (const auto& option : spec.options) {
      const std::string allowed = option.allowed.empty() ? option.default_value : fmt::format("{}", fmt::join(option.allowed, "|"));
      console.out << fmt::format("{:29}{}={} {}\n", "", option.name, allowed,
                                 wrapped("(" + option.default_value + ") " + option.help, 33, columns));
    }
  }
}

void print_workloads(Console& console) {
  const auto columns = static_cast<std::size_t>(std::clamp(console.columns, 60, 120));
  console.out << "Workloads (parameters show their values in the quick profile)\n";
  for (const auto& spec : workload_registry()) {
    console.out << fmt::format("  {:<28} {}\n", spec.name, wrapped(spec.summary, 31, columns));
    for (const auto& param : spec.params) {
      const auto& values = param.values[static_cast<std::size_t>(Profile::quick)];
      console.out << fmt::format("{:31}{}\n", "",
                                 wrapped(fmt::format("{}: {} ({})", param.name, fmt::join(values, ", "), param.summary), 33, columns));
    }
  }
}

json listed_drivers() {
  json drivers = json::array();
  for (const auto& spec : driver_registry()) {
    const Availability availability = spec.probe(options_here(spec));
    json options = json::array();
    for (const auto& option : spec.options) {
      options.push_back({{"name", option.name},
                         {"default", option.default_value},
                         {"allowed", option.allowed},
                         {"help", option.help}});
    }
    json deviations = json::array();
    for (const Deviation deviation : known_deviations(spec.name)) {
      deviations.push_back(to_string(deviation));
    }
    drivers.push_back({{"name", spec.name},
                       {"summary", spec.summary},
                       {"deviations", deviations},
                       {"available", availability.available},
                       {"engine", to_string(actual_engine(availability.engine))},
                       {"reason", availability.reason},
                       {"remedy", availability.remedy},
                       {"options", options}});
  }
  return drivers;
}

json listed_workloads() {
  static constexpr std::array<const char*, kProfiles> kNames = {"smoke", "quick", "standard", "full"};
  json workloads = json::array();
  for (const auto& spec : workload_registry()) {
    json params = json::array();
    for (const auto& param : spec.params) {
      json values = json::object();
      for (std::size_t profile = 0; profile < kProfiles; ++profile) {
        values[kNames[profile]] = param.values[profile];
      }
      params.push_back({{"name", param.name}, {"summary", param.summary}, {"values", values}});
    }
    workloads.push_back({{"name", spec.name},
                         {"summary", spec.summary},
                         {"version", spec.version},
                         {"cache", spec.cache},
                         {"durability", spec.durability},
                         {"params", params}});
  }
  return workloads;
}

void list_command(const ListFlags& flags, Console& console) {
  if (::geteuid() != 0) {
    static_cast<void>(enter_user_namespace());  // as run does; where that fails, drivers say what root has
  }
  const bool drivers = !flags.workloads_only || flags.drivers_only;
  const bool workloads = !flags.drivers_only || flags.workloads_only;
  if (flags.format == "json") {
    json all;
    if (drivers) {
      all["drivers"] = listed_drivers();
    }
    if (workloads) {
      all["workloads"] = listed_workloads();
    }
    console.out << all.dump(1) << "\n";
    return;
  }
  if (drivers) {
    print_drivers(console);
  }
  if (drivers && workloads) {
    console.out << "\n";
  }
  if (workloads) {
    print_workloads(console);
  }
}

}  // namespace

void add_list_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<ListFlags>();
  CLI::App* command = program.add_subcommand("list", "Show drivers, their options and why one cannot run; workloads");
  command->add_flag("--drivers", flags->drivers_only, "drivers only");
  command->add_flag("--workloads", flags->workloads_only, "workloads only");
  command->add_option("--format", flags->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->callback([flags, &context] { list_command(*flags, context.console); });
}

}  // namespace sbench
