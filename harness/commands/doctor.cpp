// doctor.cpp: `sbench doctor`: what this machine and user can run, and what would unlock the rest.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "drivers/base/file.h"
#include "drivers/base/privileges.h"
#include "drivers/base/process.h"
#include "drivers/base/user_namespace.h"
#include "drivers/deviations.h"
#include "drivers/fuse/server_process.h"
#include "harness/cli.h"
#include "harness/guest/uml.h"
#include "harness/plan.h"
#include "harness/reports.h"

namespace sbench {
namespace {

struct Check {
  std::string name;
  bool good = false;
  std::string found;
  std::string remedy;
};

Check program_check(const std::string& program, const std::string& what_for, const std::string& package) {
  const std::string path = find_program(program);
  return {program, !path.empty(), path.empty() ? "missing" : path,
          fmt::format("needed for {}: install {}", what_for, package)};
}

std::vector<Check> host_checks() {
  utsname kernel{};
  ::uname(&kernel);
  const bool root = ::geteuid() == 0 && !in_user_namespace();
  const auto loop = open_file("/dev/loop-control", O_RDWR);
  const auto reports = run_reports({"--help"});
  const Availability uml = probe_uml();
  const bool drawing = reports.ok() && reports->exit_code == 0;
  return {
      {"kernel", true, kernel.release, ""},
      {"root", root, root                  ? "yes"
                     : in_user_namespace() ? "only in a user namespace: no loop devices, no block devices"
                                           : fmt::format("no (uid {})", ::geteuid()), "run sbench with sudo"},
      {"loop devices", loop.ok(), loop.ok() ? "/dev/loop-control" : loop.error().what,
       "run as root, load the loop module (modprobe loop), or name a device with --device"},
      program_check("mkfs.ext4", "native, vfs, overlay2, overlay", "e2fsprogs"),
      program_check("mkfs.xfs", "backing=xfs", "xfsprogs"),
      program_check("mkfs.btrfs", "btrfs and backing=btrfs", "btrfs-progs"),
      {"run --in uml", uml.available, uml.available ? "linux.uml " + uml_release() : uml.reason,
       "the real overlayfs, btrfs and dm-thin without root: " + uml.remedy},
      {"zfs in uml", uml_has_zfs(), uml_has_zfs() ? uml_cache().string() : "not built",
       fmt::format("the real ZFS for run --in uml: {}/harness/guest/uml_zfs builds it once, in some 5 minutes, "
                   "from Debian's package zfs-dkms", shipped_folder().string())},
      {"reports", drawing, drawing ? "python3 with numpy" : "missing",
       "needed for tables and reports: install python3-numpy, python3-matplotlib and python3-jinja2"},
  };
}

/// What a driver of an engine takes of this process: mounting and loop devices need SYS_ADMIN, layers the rest.
CapabilitySet needed_by(const DriverSpec& spec, EngineClass engine) {
  CapabilitySet needed{CAP_SYS_ADMIN};
  if (spec.capabilities.stores_layers) {
    needed = needed | kFileCapabilities;
  }
  if (engine == EngineClass::userspace) {  // its servers are part of the way to the disk: PR_SET_IO_FLUSHER
    needed = needed | CapabilitySet{CAP_SYS_RESOURCE};
  }
  if (engine == EngineClass::userspace && (spec.name == "devicemapper" || spec.name == "zfs")) {
    needed = needed | CapabilitySet{CAP_SYS_CHROOT};  // a pool's server moves to a mount namespace of its own
  }
  return needed;
}

void print_privileges(CapabilitySet own, std::ostream& out) {
  out << "Privileges (capabilities(7))\n";
  out << fmt::format("  {:<14} {:<10} {:<98} {}\n", "driver", "engine", "needs", "this process lacks");
  for (const auto& spec : driver_registry()) {
    const auto engine = spec.probe(options_here(spec)).engine;
    const CapabilitySet needed = needed_by(spec, engine);
    out << fmt::format("  {:<14} {:<10} {:<98} {}\n", spec.name, to_string(actual_engine(engine)), needed.names(),
                       (needed - own).names());
  }
  out << fmt::format("  {:<25} {}\n", "server of layers keeps", fuse::kTreeServerCapabilities.names());
  out << fmt::format("  {:<25} {}\n", "server of a pool keeps", fuse::kPoolServerCapabilities.names());
  out << "  user-mode Linux (--in uml) needs none; in a user namespace, which run enters without root, a process has them all\n";
}

/// What an ordinary user's run works in. From here on this process is in it, if that is possible.
std::vector<Check> user_namespace_checks() {
  const Status entered = ::geteuid() == 0 ? Status() : enter_user_namespace();
  if (!entered.ok()) {
    const Obstacle obstacle = user_namespace_obstacle(entered.error().code);
    return {{"user namespace", false, obstacle.reason, "needed to run anything without root: " + obstacle.remedy}};
  }
  const bool owners = may_give_files_away();
  const bool fuse = ::access("/dev/fuse", R_OK | W_OK) == 0;
  return {{"user namespace", true, "what run works in without root, on a folder instead of a device", ""},
          {"owners", owners, owners ? "subordinate ids are mapped" : "one: no subordinate ids",
           "cases that change owners are skipped: give the user ranges in /etc/subuid and /etc/subgid and install newuidmap "
           "(Debian: uidmap)"},
          {"/dev/fuse", fuse, fuse ? "can be opened" : "cannot be opened by this user",
           "needed for engine=userspace and fuse-overlayfs: chmod 666 /dev/fuse (as root), as distributions have it"}};
}

bool print_checks(const std::vector<Check>& checks, std::ostream& out) {
  bool all_good = true;
  for (const auto& check : checks) {
    out << fmt::format("  {:<4} {:<14} {}\n", check.good ? "ok" : "NO", check.name, check.found);
    if (!check.good) {
      out << fmt::format("       {:<14} {}\n", "", check.remedy);
      all_good = false;
    }
  }
  return all_good;
}

bool print_driver(const std::string& label, const DriverSpec& spec, const Options& options, std::ostream& out) {
  const Availability availability = spec.probe(options);
  if (!availability.available) {
    out << fmt::format("  NO   {:<14} {}\n       {:<14} {}\n", label, availability.reason, "", availability.remedy);
    return false;
  }
  out << fmt::format("  ok   {:<14} engine {}\n", label, to_string(actual_engine(availability.engine)));
  if (!availability.reason.empty()) {
    out << fmt::format("       {:<14} {}\n", "", availability.reason);
  }
  for (const Deviation deviation : known_deviations(spec.name)) {
    out << fmt::format("       {:<14} deviates: {}\n", "", to_string(deviation));
  }
  return spec.capabilities.stores_layers;
}

/// In a user namespace each engine has reasons of its own; on a machine of one's own, auto finds the one that runs.
bool print_engines(const DriverSpec& spec, std::ostream& out) {
  const auto engine = std::find_if(spec.options.begin(), spec.options.end(), [](const OptionSpec& option) { return option.name == "engine"; });
  if (!in_user_namespace() || engine == spec.options.end()) {
    return print_driver(spec.name, spec, options_here(spec), out);
  }
  bool any = false;
  for (const auto& name : engine->allowed) {
    any = (name != "auto" && print_driver(fmt::format("{}:engine={}", spec.name, name), spec, options_here(spec, name), out)) || any;
  }
  return any;
}

int doctor_command(Console& console) {
  const CapabilitySet own = CapabilitySet::own();
  const bool ordinary = ::geteuid() != 0 || in_user_namespace();
  console.out << "This machine\n";
  bool all_good = print_checks(host_checks(), console.out);
  if (ordinary) {
    console.out << "Without root\n";
    all_good = print_checks(user_namespace_checks(), console.out) && all_good;
  }
  console.out << (in_user_namespace() ? "Drivers in a user namespace\n" : "Drivers\n");
  int runnable = 0;
  for (const auto& spec : driver_registry()) {
    runnable += print_engines(spec, console.out) ? 1 : 0;
  }
  print_privileges(own, console.out);
  console.out << fmt::format("{} drivers can be measured here{}\n", runnable,
                             all_good ? "" : "; the lines marked NO say what would unlock the rest");
  return runnable > 0 ? kExitOk : kExitNothingRan;
}

}  // namespace

void add_doctor_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("doctor", "Say what can run here, and what would unlock the rest");
  command->callback([&context] { context.exit_code = doctor_command(context.console); });
}

}  // namespace sbench
