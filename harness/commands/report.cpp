// report.cpp: `sbench report`: draws stored results: one run, several, several machines.
#include <CLI/CLI.hpp>

#include "harness/forwarded.h"

namespace sbench {

void add_report_command(CLI::App& program, CommandContext& context) {
  CLI::App* command = program.add_subcommand("report", "Draw stored results: HTML with figures, Markdown, table, JSON, CSV");
  add_words(*command, "result", "RESULT", "result.json of sbench run, or its folder; several runs or machines")->required();
  add_choice(*command, "--format", {"html", "markdown", "table", "json", "csv"}, "html (default), markdown, table, json or csv");
  add_word(*command, "-o,--output", "FILE", "default: report.html beside the result; the other formats: stdout");
  add_word(*command, "--figures", "DIR", "also write every figure there, as SVG and PNG");
  add_word(*command, "--figure", "NAME", "write this figure alone to --output (.svg or .png); an unknown name lists all");
  add_word(*command, "--history", "DB", "add the trend over the nights of this history");
  add_word(*command, "--use-cases", "FILE", "use cases and their weights, in place of reports/use_cases.ini");
  command->add_flag("--cases")->description("table: one row per case instead of per workload");
  forward_to_reports(*command, context);
}

}  // namespace sbench
