// run.cpp: `sbench run`: measures drivers on a block device and reports.
#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <ctime>
#include <memory>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/base/user_namespace.h"
#include "drivers/block/guard.h"
#include "drivers/leftovers.h"
#include "harness/cli.h"
#include "harness/data_root.h"
#include "harness/guest/guard_process.h"
#include "harness/guest/guest_run.h"
#include "harness/reports.h"
#include "harness/runner.h"
#include "workloads/content/fixtures.h"
#include "workloads/dockerfile/run_step.h"

namespace sbench {
namespace {

constexpr std::uint64_t kDeviceBytesMin = 2 * kGiB;
constexpr long kTmpfsMagic = 0x01021994;

struct RunFlags {
  RunRequest request;
  std::string seed_text;
  std::string budget_text;
  std::string run_limit_text = "10m";
  std::string output;
  std::string resume;
  bool dry_run = false;
  bool wipe = false;
  bool yes = false;
  bool skip_exit = false;
  bool no_report = false;
  std::string keep;
  std::string format = "table";
  std::string progress = "auto";
};

void print_plan(const Plan& plan, const RunRequest& request, std::ostream& out) {
  out << fmt::format("device    {}\n",
                     request.rootless ? fmt::format("a folder in {}: device bytes are not measured, except of engines that keep an image file",
                                                    request.image_dir)
                     : request.device.empty()
                         ? fmt::format("loop image of {} in {}", request.image_size, request.image_dir)
                         : request.device + " (every byte on it will be overwritten)");
  out << fmt::format("blocks    {} (each formats every driver afresh; order from seed {})\n", plan.blocks, plan.seed);
  out << fmt::format("samples   {}\n", plan.samples());
  for (const auto& planned : plan.variants) {
    out << fmt::format("\n{} [{}]: {} cases\n", planned.variant.label, to_string(planned.engine), planned.cases.size());
    for (const auto& each : planned.cases) {
      out << "  " << each.name(planned.variant) << "\n";
    }
  }
  if (!plan.skips.empty()) {
    out << "\n";
  }
  for (const auto& skip : plan.skips) {
    out << fmt::format("skipped   {}: {}; {}\n", skip.variant.label, skip.reason, skip.remedy);
  }
}

/// The exit code of "cannot run here".
int unsupported(const RunFlags& flags) { return flags.skip_exit ? kExitSkipped : kExitNothingRan; }

/// "Cannot run here" or exit 5, with the reason nothing can run; or 0.
int refuse_empty_plan(const Plan& plan, const RunFlags& flags, Console& console) {
  const RunRequest& request = flags.request;
  if (plan.worth_running()) {
    return kExitOk;
  }
  for (const auto& skip : plan.skips) {
    console.err << fmt::format("sbench: {} cannot run here: {}; {}\n", skip.variant.label, skip.reason, skip.remedy);
  }
  if (plan.skips.empty() || !request.filter.empty()) {
    console.err << fmt::format("sbench: nothing to run: no case matches --filter '{}'; see sbench run --dry-run\n",
                               request.filter);
    return kExitNothingRan;
  }
  console.err << "sbench: nothing to run: no driver can run here; see sbench doctor\n";
  return unsupported(flags);
}

/// `--wipe` needs the device's name typed back, or --yes.
void confirm_wipe(const DeviceFacts& facts, bool yes, Console& console) {
  if (yes) {
    return;
  }
  console.err << fmt::format("{} ({}{}) will be overwritten. Type its name to go on: ", facts.path,
                             human_size(static_cast<double>(facts.size_bytes)),
                             facts.signatures.empty() ? "" : fmt::format(", carries {}", fmt::join(facts.signatures, ", ")))
              << std::flush;
  std::string typed;
  std::getline(console.in, typed);
  if (typed != facts.path) {
    throw UsageError("{} was not confirmed; nothing was touched (type the name, or add --yes)", facts.path);
  }
}

Result<std::unique_ptr<Device>> open_device(const RunFlags& flags, Console& console) {
  const RunRequest& request = flags.request;
  if (!request.device.empty()) {
    SBENCH_TRY_SET(DeviceFacts facts, inspect_device(request.device));
    require_formattable(facts, kDeviceBytesMin, flags.wipe);
    confirm_wipe(facts, flags.yes, console);
    return Device::open_real(facts.path, std::move(facts.claim));  // held since before the question
  }
  const std::uint64_t size_bytes = parse_size(request.image_size, "--image-size");
  if (size_bytes < kDeviceBytesMin) {
    throw UsageError("--image-size {} is too small; at least {} are needed", request.image_size,
                     human_size(static_cast<double>(kDeviceBytesMin)));
  }
  struct statfs folder {};
  if (::statfs(request.image_dir.c_str(), &folder) != 0) {
    throw UsageError("--image-dir {}: {}; name an existing folder on the disk to be measured", request.image_dir,
                     std::generic_category().message(errno));
  }
  const std::uint64_t free_bytes =
      static_cast<std::uint64_t>(folder.f_bavail) * static_cast<std::uint64_t>(folder.f_bsize);
  if (free_bytes < size_bytes) {
    throw UsageError(
        "--image-dir {} has {} free, the image may grow to {}; choose another folder or a smaller --image-size",
        request.image_dir, human_size(static_cast<double>(free_bytes)), human_size(static_cast<double>(size_bytes)));
  }
  if (folder.f_type == kTmpfsMagic) {
    console.err << fmt::format(
        "warning: {} is in memory (tmpfs): large copy-ups will look free; use --image-dir on a disk\n",
        request.image_dir);
  }
  return Device::make_image(request.image_dir, size_bytes);
}

int draw_reports(const RunFlags& flags, const std::filesystem::path& directory, Console& console) {
  const std::string result = (directory / "result.json").string();
  const auto html = run_reports(
      {"report", result, "-o", (directory / "report.html").string(), "--figures", (directory / "figures").string()});
  const auto markdown = run_reports({"report", result, "--format", "markdown"});
  std::vector<std::string> table_arguments = {flags.format, result};
  if (flags.format == "table") {
    table_arguments.insert(table_arguments.end(), {"--width", std::to_string(console.columns), "--color",
                                                   console.out_is_terminal ? "always" : "never"});
  }
  const auto table = run_reports(table_arguments);
  for (const auto* output : {&html, &markdown, &table}) {
    if (!output->ok()) {
      console.err << "sbench: " << output->error().what << "\n";
      return kExitError;
    }
    console.err << (*output)->stderr_text;
    if ((*output)->exit_code != 0) {
      return kExitError;
    }
  }
  if (const Status written = write_text_atomic(directory / "report.md", markdown->stdout_text); !written.ok()) {
    console.err << "sbench: " << written.error().what << "\n";
    return kExitError;
  }
  console.out << table->stdout_text << std::flush;
  return kExitOk;
}

std::string typed_command(const CommandContext& context) {
  return fmt::format("sbench {}", fmt::join(context.arguments, " "));
}

Result<std::unique_ptr<Recorder>> open_recorder(RunFlags& flags, const Plan& plan, const Device& device,
                                                const CommandContext& context) {
  if (!flags.resume.empty()) {
    return Recorder::resume(flags.resume);
  }
  const char* typed = is_inner_run(flags.request) ? std::getenv(kTypedCommand) : nullptr;
  const std::string command = typed != nullptr ? typed : typed_command(context);
  return Recorder::create(flags.output, run_header(flags.request, plan, device, command));
}

int report_error(const Error& error, Console& console) {
  console.err << "sbench: " << error.what << "\n";
  return kExitError;
}

/// With --resume the request comes from the interrupted run, device confirmation aside.
Status adopt_resumed_request(RunFlags& flags) {
  SBENCH_TRY_SET(const auto interrupted, Recorder::resume(flags.resume));
  flags.output = flags.resume;
  try {
    flags.request = request_from_json(interrupted->header().at("request"));
  } catch (const nlohmann::json::exception& error) {
    return plain_error(EINVAL, "{} was not written by this sbench ({}); start a new run", flags.resume, error.what());
  }
  return {};
}

std::string default_output() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  return fmt::format("out/run-{:04}{:02}{:02}-{:02}{:02}{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

void complete_request(RunFlags& flags) {
  RunRequest& request = flags.request;
  if (!flags.budget_text.empty()) {
    request.budget_s = parse_duration_s(flags.budget_text, "--budget");
  }
  request.run_limit_s = parse_duration_s(flags.run_limit_text, "--run-limit");
  if (request.run_limit_s == 0) {
    throw UsageError("--run-limit {} leaves no time to run in", flags.run_limit_text);
  }
  if (flags.seed_text.empty()) {
    request.seed =
        static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000'000;
  } else {
    const auto [end, error] =
        std::from_chars(flags.seed_text.data(), flags.seed_text.data() + flags.seed_text.size(), request.seed);
    if (error != std::errc{} || end != flags.seed_text.data() + flags.seed_text.size()) {
      throw UsageError("--seed '{}' is not a whole number", flags.seed_text);
    }
  }
  if (flags.output.empty()) {
    flags.output = default_output();
  }
}

/// Draws the reports and says where everything is.
int draw_and_point(const RunFlags& flags, Console& console) {
  const int code = draw_reports(flags, flags.output, console);
  console.err << fmt::format("result    {0}/result.json\nreport    {0}/report.html\n", flags.output);
  return code;
}

struct Measured {
  std::size_t samples = 0;
  std::size_t failures = 0;
  RunOutcome outcome;
};

/// Reports what was measured, and returns the run's exit code.
int conclude(const RunFlags& flags, const Measured& measured, Console& console) {
  const int signal = measured.outcome.signal;
  if (measured.outcome.all_refused) {
    console.err << "sbench: nothing was measured: no case can run here, see why above\n";
    return unsupported(flags);
  }
  if (measured.samples == 0) {
    console.err << "sbench: nothing was measured; see the failures above\n";
    return signal != 0 ? 128 + signal : static_cast<int>(kExitError);
  }
  const bool draws = !is_inner_run(flags.request) && !flags.no_report;
  const int code = draws ? draw_and_point(flags, console) : static_cast<int>(kExitOk);
  if (signal != 0) {
    console.err << fmt::format("interrupted; finish with: sbench run --resume {}\n", flags.output);
    return 128 + signal;
  }
  return measured.failures > 0 ? static_cast<int>(kExitError) : code;
}

/// What --keep asks for. Whole applications of the full profile would fill a disk once a driver: small ones do.
Status keep_data_root(const RunFlags& flags, const Plan& plan, Progress& progress) {
  const RunRequest& request = flags.request;
  SBENCH_TRY(make_data_root(flags.keep, plan, request.profile == "smoke" ? "tiny" : "small",
                            parse_size(request.image_size, "--image-size"),
                            [&](const std::string& line) { progress.message(line); }));
  progress.message(fmt::format(
      "containers are listed in {0}/containers; ask about one: sbench explain --data-root {0} CONTAINER PATH",
      flags.keep));
  return {};
}

/// Where an ordinary user's run works: a folder, which a guard removes when the run is killed.
struct Workplace {
  std::unique_ptr<GuardProcess> guard;  ///< bids farewell once the folder is gone
  std::unique_ptr<Device> device;
  [[nodiscard]] std::filesystem::path roots() const {
    return device ? std::filesystem::path(device->path()) / "roots" : std::filesystem::path();
  }
};

Status make_workplace(const RunRequest& request, Workplace& workplace) {
  SBENCH_TRY_SET(const auto folder, make_unique_directory(std::filesystem::absolute(request.image_dir) / "sbench-run-"));
  SBENCH_TRY_SET(workplace.device, Device::take_folder(folder, parse_size(request.image_size, "--image-size")));
  SBENCH_TRY(make_directories(workplace.roots()));
  SBENCH_TRY_SET(workplace.guard, GuardProcess::start(folder));
  return {};
}

int measure(RunFlags& flags, const Plan& plan, CommandContext& context) {
  Console& console = context.console;
  Workplace workplace;
  if (flags.request.rootless) {
    if (const Status made = make_workplace(flags.request, workplace); !made.ok()) {
      return report_error(made.error(), console);
    }
  }
  auto session = Session::enter(workplace.roots());
  if (!session.ok()) {
    return report_error(session.error(), console);
  }
  const auto undone = undo_leftovers();
  if (!undone.ok()) {
    return report_error(undone.error(), console);
  }
  if (!undone->empty()) {
    console.err << fmt::format("removed what a killed run left: {}\n", fmt::join(*undone, ", "));
  }
  auto opened = workplace.device ? Result<std::unique_ptr<Device>>(nullptr) : open_device(flags, console);
  if (!opened.ok()) {
    return report_error(opened.error(), console);
  }
  Device& device = workplace.device ? *workplace.device : **opened;  // a folder can go when nothing is mounted there any more
  auto recorder = open_recorder(flags, plan, device, context);
  if (!recorder.ok()) {
    return report_error(recorder.error(), console);
  }
  Progress progress(console, parse_progress(flags.progress, console.err_is_terminal), plan.samples(), plan.blocks);
  progress.message(fmt::format("{} samples in {} blocks, seed {}, results in {}", plan.samples(), plan.blocks,
                               plan.seed, flags.output));
  for (const auto& skip : plan.skips) {
    progress.message(fmt::format("skipping {}: {}", skip.variant.label, skip.reason));
  }
  const auto outcome = carry_out(plan, flags.request.budget_s, device, **session, **recorder, progress);
  progress.finish();
  if (!outcome.ok()) {
    return report_error(outcome.error(), console);
  }
  const Status kept = flags.keep.empty() || outcome->signal != 0 ? Status() : keep_data_root(flags, plan, progress);
  const int code = conclude(flags, {(*recorder)->samples(), (*recorder)->failures(), *outcome}, console);
  return kept.ok() ? code : report_error(kept.error(), console);
}

/// The host's half of a run whose other half happens in user-mode Linux.
int measure_inside(RunFlags& flags, CommandContext& context) {
  Console& console = context.console;
  const std::string style = flags.progress != "auto" ? flags.progress : console.err_is_terminal ? "tty" : "plain";
  const auto code = measure_in_uml(
      {flags.request, flags.output, !flags.resume.empty(), flags.dry_run, style, typed_command(context)}, console);
  if (!code.ok()) {
    if (code.error().code == ENOTSUP) {
      console.err << fmt::format("sbench: run --in uml cannot run here: {}\n", code.error().what);
      return unsupported(flags);
    }
    report_error(code.error(), console);
    if (flags.dry_run || !std::filesystem::exists(std::filesystem::path(flags.output) / "result.json")) {
      return kExitError;
    }
  }
  if (flags.dry_run || !std::filesystem::exists(std::filesystem::path(flags.output) / "result.json")) {
    return *code;
  }
  const int drawn = draw_and_point(flags, console);
  return !code.ok() ? static_cast<int>(kExitError) : *code != kExitOk ? *code : drawn;
}

/// A --keep that cannot work is said before anything is measured.
void check_keep(const RunFlags& flags) {
  if (flags.keep.empty()) {
    return;
  }
  if (flags.request.in == "uml") {
    throw UsageError("--keep needs --in host: what the guest stores goes with it");
  }
  std::error_code ignored;
  if (std::filesystem::exists(flags.keep, ignored) && !std::filesystem::is_empty(flags.keep, ignored)) {
    throw UsageError("--keep {} is not empty; name another folder", flags.keep);
  }
}

/// An ordinary user's run moves into a user namespace of its own; or the exit code of why it cannot.
int take_user_namespace(RunFlags& flags, Console& console) {
  RunRequest& request = flags.request;
  const bool ordinary = ::geteuid() != 0 || in_user_namespace();
  if (!flags.resume.empty() && request.rootless != ordinary) {
    throw UsageError("{} was begun {}; resume it {}", flags.resume, request.rootless ? "by an ordinary user" : "by root",
                     request.rootless ? "as that user" : "as root");
  }
  request.rootless = ordinary;
  if (!ordinary) {
    return kExitOk;
  }
  const auto cannot = [&](const std::string& why) {
    console.err << fmt::format("sbench: run cannot run here: {}\n", why);
    return unsupported(flags);
  };
  if (!request.device.empty()) {
    return cannot("--device needs root to format a device and mount file systems; run it with sudo, or without --device");
  }
  if (!flags.keep.empty()) {
    return cannot("--keep needs root: a data root of a user namespace's files is of no use outside of it; run it with sudo");
  }
  if (::geteuid() != 0) {
    if (const Status entered = enter_user_namespace(); !entered.ok()) {
      return cannot(fmt::format("without root, it takes a user namespace, and {}; or run with sudo, or with --in uml",
                                entered.error().what));
    }
  }
  if (!request.image.empty() && !request.image.starts_with("profile:") && !may_give_files_away()) {
    return cannot(fmt::format("--image has files of several owners, and {}; {}", kNoOtherOwners, kSubordinateIds));
  }
  return kExitOk;
}

int run_command(RunFlags& flags, CommandContext& context) {
  Console& console = context.console;
  static_cast<void>(parse_progress(flags.progress, console.err_is_terminal));
  if (!flags.resume.empty()) {
    if (const Status adopted = adopt_resumed_request(flags); !adopted.ok()) {
      return report_error(adopted.error(), console);
    }
  } else {
    complete_request(flags);
  }
  check_keep(flags);
  if (flags.request.in == "host" && !is_inner_run(flags.request)) {
    if (const int code = take_user_namespace(flags, console); code != kExitOk) {
      return code;
    }
  }
  const Plan plan = make_plan(flags.request);
  if (flags.request.in == "uml" && !is_inner_run(flags.request)) {
    return measure_inside(flags, context);
  }
  if (flags.dry_run) {
    print_plan(plan, flags.request, console.out);
    return kExitOk;
  }
  if (flags.request.device.empty() && !flags.request.rootless) {
    if (const auto control = open_file("/dev/loop-control", O_RDWR); !control.ok()) {
      console.err << fmt::format("sbench: run needs loop devices: {}; name a device with --device, or run with --in uml\n",
                                 control.error().what);
      return unsupported(flags);
    }
  }
  if (flags.request.run_steps == "exec") {
    if (const std::string reason = reason_no_exec(); !reason.empty()) {
      console.err << fmt::format("sbench: --run-steps=exec cannot run here: {}\n", reason);
      return unsupported(flags);
    }
  }
  if (const int code = refuse_empty_plan(plan, flags, console); code != kExitOk) {
    return code;
  }
  return measure(flags, plan, context);
}

}  // namespace

/// Making ext4 writes every inode table; a smoke run needs a tenth of it. From 2 GiB on the journal has its full size.
constexpr const char* kSmokeGuestImage = "4G";

void add_run_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<RunFlags>();
  RunRequest& request = flags->request;
  CLI::App* command = program.add_subcommand("run", "Measure drivers on a block device and write a report");
  command->add_option("--driver", request.drivers, "NAME[:opt=val,...], repeatable; default: every driver");
  command->add_flag("--all", request.all, "every driver, besides those named");
  command->add_option("--workload", request.workloads, "family or workload, repeatable; default: all");
  command->add_option("--filter", request.filter, "only cases whose name matches this regular expression");
  command->add_option("--profile", request.profile, "smoke, quick, standard or full")->capture_default_str();
  command->add_option("--device", request.device, "block device to format; default: an image file under a loop device");
  command->add_option("--in", request.in, "whose kernel: this machine's, or user-mode Linux (no root needed)")
      ->check(CLI::IsMember({"host", "uml"}))
      ->capture_default_str();
  command->add_option("--image-dir", request.image_dir, "where the image file lives")->capture_default_str();
  command->add_option("--image-size", request.image_size, "its size (sparse)")->capture_default_str();
  command->add_option("--image", request.image,
                      "image all workloads stand on: OCI layout or archive, docker save, host:PATH, tar:FILE");
  command->add_option("--dockerfile", request.dockerfiles,
                      "what cache_reuse.dockerfiles builds, repeatable; default: a pair of applications");
  command
      ->add_option("--run-steps", request.run_steps, "their RUN steps: a generated change set, or the command itself")
      ->check(CLI::IsMember({"replay", "exec"}))
      ->capture_default_str();
  command->add_option("--run-limit", flags->run_limit_text, "the longest an executed RUN step may take")
      ->capture_default_str();
  command->add_option("--recordings", request.recordings,
                      "folder: exec leaves what each RUN changed there, replay takes it from there");
  command->add_option("--platform", request.platform, "os/architecture of a multi-platform --image");
  command->add_option("--storage-opt", request.storage_opts, "driver.option=value, repeatable");
  command->add_option("--blocks", request.blocks, "repetitions; default: the profile's")->check(CLI::Range(1, 1000));
  command->add_option("--budget", flags->budget_text, "stop starting work after this time, for example 10m");
  command->add_option("--seed", flags->seed_text, "reproduces every random choice; default: from the clock");
  command->add_option("--output", flags->output, "folder for result.json, report.html and figures");
  command->add_option("--keep", flags->keep,
                      "afterwards leave a data root there, as /var/lib/docker is one, for sbench explain");
  command->add_option("--resume", flags->resume, "finish the interrupted run in this folder");
  command->add_option("--kind", request.kind, "a label kept in the result, for example nightly")->capture_default_str();
  command
      ->add_option("--inject", request.inject,
                   "slow cases down on purpose, to test the gate: REGEX=slow:20% or REGEX=write:1400K")
      ->group("Testing the gate");
  command->add_flag("--dry-run", flags->dry_run, "print the plan and touch nothing");
  command->add_flag("--wipe", flags->wipe, "allow a device that carries a signature to be overwritten");
  command->add_flag("--skip-exit", flags->skip_exit,
                    "exit code 77 instead of 5 where all that was asked for cannot run here");
  command->add_flag("--no-report", flags->no_report, "write result.json alone; sbench report draws the rest later");
  command->add_flag("--yes", flags->yes, "do not ask before a device is overwritten");
  command->add_option("--format", flags->format, "what goes to stdout")
      ->check(CLI::IsMember({"table", "json", "markdown"}))
      ->capture_default_str();
  command->add_option("--progress", flags->progress, "auto, tty, plain, json or none")->capture_default_str();
  command->callback([flags, command, &context] {
    if (flags->request.in == "uml" && command->count("--profile") == 0) {
      flags->request.profile =
          "smoke";  // system calls cost a hundred times as much there, and repetition adds little to bytes
      if (command->count("--image-size") == 0) {
        flags->request.image_size = kSmokeGuestImage;
      }
    }
    context.exit_code = run_command(*flags, context);
  });
}

}  // namespace sbench
