// manual.cpp: sbench(1): prose that stands here, commands and options from the command tree.
#include <fmt/ranges.h>

#include "harness/command_tree.h"

namespace sbench {
namespace {

using fmt::format;

/// Text that troff prints as it is.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return !out.empty() && (out.front() == '.' || out.front() == '\'') ? "\\&" + out : out;
}

std::string option_entry(const OptionFacts& option) {
  std::vector<std::string> names;
  for (const auto& name : option.names) {
    names.push_back("\\fB" + plain(name) + "\\fR");
  }
  std::string label = format("{}", fmt::join(names, ", "));
  if (!option.value.empty()) {
    label += (label.empty() ? "" : " ") + std::string("\\fI") + plain(option.value) + "\\fR";
  }
  std::string help = option.help;
  if (!option.default_value.empty()) {
    help += format(" (default: {})", option.default_value);
  }
  return format(".TP\n{}\n{}\n", label, plain(help));
}

void add_command(std::string& page, const CommandFacts& command) {
  if (!command.path.empty()) {
    page +=
        format(".SS \"sbench {}\"\n{}.\n", plain(format("{}", fmt::join(command.path, " "))), plain(command.summary));
  }
  for (const auto& option : command.options) {
    if (option.names != std::vector<std::string>{"-h", "--help"}) {
      page += option_entry(option);
    }
  }
  for (const auto& below : command.commands) {
    add_command(page, below);
  }
}

constexpr const char* kDescription = R"(.SH SYNOPSIS
.B sbench
.I COMMAND
[\fIOPTIONS\fR]
.SH DESCRIPTION
.B sbench
answers with measurements which container storage driver a machine should use, and
whether it got slower last night. It formats a block device (by default an image file
under a loop device, so that nothing else is touched), lays image layers down through
a driver, runs container-shaped work in them, accounts for every byte that reached
the device, and reports the drivers side by side.
.PP
Results go to standard output, progress and messages to standard error. Times are
ranked within one engine class only (kernel, uml or userspace); bytes and counts
compare across classes.
.PP
.B sbench run
formats devices as root; an ordinary user's run works on a folder, in a user namespace.
A real device named with
.B \-\-device
is refused when it is mounted, in use or carries a signature, until
.B \-\-wipe
is given and its name is typed back.
)";

constexpr const char* kRest = R"(.SH EXIT STATUS
.TP
.B 0
done; no regression
.TP
.B 1
an error, or a sample failed
.TP
.B 2
the command line or a file the user wrote is wrong
.TP
.B 3
confirmed: slower, or more bytes
.TP
.B 4
inconclusive: too noisy, too few blocks, or the environment shifted
.TP
.B 5
nothing ran, or nothing to report
.TP
.B 77
.B sbench run \-\-skip\-exit
where all that was asked for cannot run here
.TP
.B 130, 143
interrupted; what was measured is kept, and
.B sbench run \-\-resume
finishes it
.SH ENVIRONMENT
.TP
.B SBENCH_PYTHON
the Python interpreter that draws reports; it needs numpy, jinja2 and jsonschema, and matplotlib for figures
.TP
.B SBENCH_HISTORY
the history that
.B history, gate
and
.B choose
use without
.B \-\-history
.TP
.B NO_COLOR, FORCE_COLOR
no colours, or colours also where standard output is no terminal
.SH FILES
.TP
.I result.json
one run: a superset of Google Benchmark's format; its schema is
.I reports/result.schema.json
.TP
.I run.jsonl
a line after every sample, so that a killed run loses nothing
.TP
.I reports/use_cases.ini
what counts for which use, and how much; a copy is given to
.B sbench report \-\-use\-cases
.TP
.I /var/lib/sbench/history.sqlite
the nights, where neither
.B \-\-history
nor
.B SBENCH_HISTORY
names another
.TP
.I reports/distributions.ini
what distributions ship, with the source of every row
.SH EXAMPLES
.EX
sudo sbench run \-\-driver overlay2 \-\-driver overlay2:backing=xfs
sbench report out/run\-20261123\-210000
sbench report debian.json fedora.json \-o systems.html
sbench compare before.json after.json
sbench compare result.json \-\-driver overlay2 \-\-driver overlay2:backing=xfs
sbench gate out/run\-20261123\-210000 \-\-confirm \-\-junit gate.xml
sbench history trend \-o trend.svg
sbench choose out/run\-20261123\-210000 \-\-distro fedora
.EE
)";

}  // namespace

std::string manual_page(const CommandFacts& program) {
  std::string page =
      format(".TH SBENCH 1 \"\" \"sbench\" \"User Commands\"\n.SH NAME\nsbench \\- {}\n", plain(program.summary));
  page += kDescription;
  page += ".SH OPTIONS\n";
  CommandFacts alone = program;
  alone.commands.clear();
  add_command(page, alone);
  page += ".SH COMMANDS\n";
  for (const auto& command : program.commands) {
    add_command(page, command);
  }
  return page + kRest;
}

}  // namespace sbench
