// soak.cpp: `sbench soak`: breaks runs of every driver on purpose, and looks whether they bear it.
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "harness/cli.h"
#include "harness/soak/campaign.h"
#include "harness/soak/plan.h"
#include "harness/soak/store_work.h"
#include "harness/variant.h"

namespace sbench {
namespace {

struct SoakFlags {
  soak::SoakRequest request;
  double hours = 0;
  double minutes = 0;
  std::uint64_t seed = 0;
  bool seeded = false;
  std::string output;
};

void complete(SoakFlags& flags) {
  auto& request = flags.request;
  request.limit_s = flags.hours * 3600 + flags.minutes * 60;
  if (request.limit_s <= 0 && request.kills + request.faults == 0) {
    throw UsageError("how long? --hours N or --minutes N, or --kills N and --faults N");
  }
  request.seed = flags.seeded ? flags.seed
                              : static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) %
                                    1'000'000'000;
  if (request.drivers.empty()) {
    request.drivers = soak::drivers_here();
  }
  for (const auto& driver : request.drivers) {
    const Variant variant = parse_variant(driver);
    if (const auto availability = variant.spec->probe(variant.options); !availability.available) {
      throw UsageError("{} cannot run here: {}; {}", driver, availability.reason, availability.remedy);
    }
  }
  for (const auto fault : soak::kFaults) {
    const bool named = std::find(request.only.begin(), request.only.end(), soak::to_string(fault)) != request.only.end();
    if (named && !soak::can_do(fault)) {
      throw UsageError("{} needs the library libsbench_clock.so beside the program; a sanitizer's build has none",
                       soak::to_string(fault));
    }
  }
  request.program = "/proc/self/exe";  // this very program, also when its file was replaced meanwhile
}

int soak_command(SoakFlags& flags, CommandContext& context) {
  Console& console = context.console;
  complete(flags);
  if (::geteuid() != 0) {
    console.err << "sbench: soak needs root to make devices and mount file systems; run it with sudo\n";
    return kExitNothingRan;
  }
  console.err << fmt::format("seed {}, drivers: {}\n", flags.request.seed, fmt::join(flags.request.drivers, " "));
  for (const auto fault : soak::kFaults) {
    if (!soak::can_do(fault)) {
      console.err << fmt::format("left out: {}, for want of libsbench_clock.so beside the program\n", soak::to_string(fault));
    }
  }
  const auto record = soak::run_soak(flags.request, console);
  if (!record.ok()) {
    console.err << "sbench: " << record.error().what << "\n";
    return kExitError;
  }
  if (!flags.output.empty()) {
    if (const Status written = write_text_atomic(flags.output, record->dump(1) + "\n"); !written.ok()) {
      console.err << "sbench: " << written.error().what << "\n";
      return kExitError;
    }
  }
  context.console.out << soak::table_of(*record) << "\n" << soak::summary_of(*record) << "\n";
  const auto& flat = record->at("memory").at("verdict").at("flat");
  return record->at("findings").empty() && (flat.is_null() || flat.get<bool>()) ? kExitOk : kExitError;
}

/// One of the two processes of a case with acknowledged writes.
void add_store_command(CLI::App& soak, const std::string& action, CommandContext& context) {
  auto work = std::make_shared<soak::StoreWork>();
  CLI::App* command = soak.add_subcommand(action, "Part of a case")->group("");
  command->add_option("--driver", work->driver)->required();
  command->add_option("--device", work->device)->required();
  command->add_option("--written", work->written)->required();
  command->add_option("--seed", work->seed)->required();
  command->callback([work, action, &context] {
    const auto done = action == "write" ? [&]() -> Result<std::uint64_t> {
      SBENCH_TRY(soak::write_store(*work));
      return std::uint64_t{0};
    }() : soak::check_store(*work);
    context.exit_code = done.ok() ? kExitOk : kExitError;
    if (done.ok()) {
      context.console.out << *done << "\n";
    } else {
      context.console.err << "sbench: " << done.error().what << "\n";
    }
  });
}

}  // namespace

void add_soak_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<SoakFlags>();
  CLI::App* command = program.add_subcommand("soak", "Kill, fill and break runs of every driver, and look what they bear");
  command->add_option("--hours", flags->hours, "how long")->check(CLI::NonNegativeNumber);
  command->add_option("--minutes", flags->minutes, "how long")->check(CLI::NonNegativeNumber);
  command->add_option("--kills", flags->request.kills, "until so many processes were killed");
  command->add_option("--faults", flags->request.faults, "and so many faults hit");
  auto* seed = command->add_option("--seed", flags->seed, "reproduces the choice of cases; default: from the clock");
  command->add_option("--driver", flags->request.drivers, "NAME[:opt=val,...], repeatable; default: each that can run here");
  command->add_option("--fault", flags->request.only, "only this kind, repeatable; default: all")
      ->check(CLI::IsMember([] {
        std::vector<std::string> names;
        names.reserve(std::size(soak::kFaults));
        for (const auto fault : soak::kFaults) {
          names.emplace_back(soak::to_string(fault));
        }
        return names;
      }()));
  command->add_option("--hang-after", flags->request.hang_after_s, "seconds after which work counts as hung")
      ->check(CLI::Range(5, 3600))
      ->capture_default_str();
  command->add_option("--work", flags->request.work_folder, "folder for images and results")->capture_default_str();
  command->add_option("--keep", flags->request.findings, "folder that keeps the files of every case with a finding");
  command->add_option("-o,--output", flags->output, "file for the record, as JSON");
  add_store_command(*command, "write", context);
  add_store_command(*command, "check", context);
  command->callback([flags, seed, command, &context] {
    if (command->get_subcommands().empty()) {
      flags->seeded = seed->count() > 0;
      context.exit_code = soak_command(*flags, context);
    }
  });
}

}  // namespace sbench
