// doctor.cpp: `sbench doctor`: what this machine and user can run, and what would unlock the rest.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <sstream>

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

void print_privileges(std::ostream& out) {
  const CapabilitySet own = CapabilitySet::own();
  out << "Privileges (capabilities(7))\n";
  out << fmt::format("  {:<14} {:<10} {:<98} {}\n", "driver", "engine", "needs", "this process lacks");
  for (const auto& spec : driver_registry()) {
    const auto engine = spec.probe(complete_options(spec, {})).engine;
    const CapabilitySet needed = needed_by(spec, engine);
    out << fmt::format("  {:<14} {:<10} {:<98} {}\n", spec.name, to_string(actual_engine(engine)), needed.names(),
                       (needed - own).names());
  }
  out << fmt::format("  {:<25} {}\n", "server of layers keeps", fuse::kTreeServerCapabilities.names());
  out << fmt::format("  {:<25} {}\n", "server of a pool keeps", fuse::kPoolServerCapabilities.names());
  out << "  user-mode Linux (--in uml) needs none\n";
}

int doctor_command(Console& console) {
  console.out << "This machine\n";
  bool all_good = true;
  for (const auto& check : host_checks()) {
    console.out << fmt::format("  {:<4} {:<14} {}\n", check.good ? "ok" : "NO", check.name, check.found);
    if (!check.good) {
      console.out << fmt::format("       {:<14} {}\n", "", check.remedy);
      all_good = false;
    }
  }
  console.out << "Drivers\n";
  int runnable = 0;
  for (const auto& spec : driver_registry()) {
    const Availability availability = spec.probe(complete_options(spec, {}));
    if (availability.available) {
      console.out << fmt::format("  ok   {:<14} engine {}\n", spec.name, to_string(actual_engine(availability.engine)));
      if (!availability.reason.empty()) {
        console.out << fmt::format("       {:<14} {}\n", "", availability.reason);
      }
      runnable += spec.capabilities.stores_layers ? 1 : 0;
      for (const Deviation deviation : known_deviations(spec.name)) {
        console.out << fmt::format("       {:<14} deviates: {}\n", "", to_string(deviation));
      }
    } else {
      console.out << fmt::format("  NO   {:<14} {}\n       {:<14} {}\n", spec.name, availability.reason, "",
                                 availability.remedy);
    }
  }
  print_privileges(console.out);
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
