// gate.cpp: `sbench gate`: did it get slower last night; and `sbench selftest`, which puts the gate to the test.
#include <CLI/CLI.hpp>

#include "harness/forwarded.h"

namespace sbench {

void add_gate_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("gate", "Say whether last night was slower than the nights before");
  add_words(*command, "result", "RESULT", "the night's result, added to the history first; without one: the newest night there");
  add_word(*command, "--history", "DB", "file of the history, or postgresql://USER@HOST/NAME; default: $SBENCH_HISTORY, or "
                                        "/var/lib/sbench/history.sqlite");
  command->add_flag("--confirm")->description("measure suspects again at once, with the options of the night's run");
  command->add_flag("--strict")->description("a baseline that is too short ends in exit code 4");
  add_choice(*command, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  add_word(*command, "--junit", "FILE", "also write JUnit XML there");
  add_word(*command, "--markdown", "FILE", "also append Markdown there, as for $GITHUB_STEP_SUMMARY");
  add_word(*command, "--openmetrics", "FILE", "also write a node exporter's textfile there (.prom)");
  add_word(*command, "--machine", "ID", "the machine; needed without RESULT where the history has several");
  add_words(*command, "--ack", "SERIES", "accept the new level of this series (* for any letters), repeatable; needs --reason");
  add_words(*command, "--reset", "SERIES", "start a new baseline for this series, repeatable; needs --reason");
  add_word(*command, "--reason", "TEXT", "why, for --ack and --reset; kept in the history");
  forward_to_reports(*command, context);
}

void add_selftest_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("selftest", "Measure the gate itself: false alarms and detection power on this machine");
  add_word(*command, "--history", "DB", "nights to replay; default: record sittings of this machine now");
  add_word(*command, "--sittings", "N", "how many to record (default: 30; METHOD asks for 60)");
  command->add_flag("--short")->description("24 sittings of one driver with 7 blocks instead of 13");
  command->add_flag("--inject")->description("also record sittings with a real 20 % slowdown, 10 % slowdown and 2 % more writes");
  add_word(*command, "--budget", "TIME", "longest time for recording (default: 2h; with --short: 12m); the slowed sittings are kept room for");
  add_word(*command, "--image-dir", "DIR", "where sittings keep their image file (default: /var/tmp)");
  add_word(*command, "--record", "FILE", "keep the sittings there, as a history, after each of them; an interrupted recording goes on from it");
  add_word(*command, "--bootstrap", "N", "synthetic nights drawn from the real ones (default: 1000)");
  add_word(*command, "-o,--output", "FILE", "also write everything as JSON there (selftest.json)");
  add_choice(*command, "--format", {"text", "markdown", "json"}, "text (default), markdown or json");
  forward_to_reports(*command, context);
}

}  // namespace sbench
