// report.cpp: `sbench report`: draws a stored result again.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "harness/cli.h"
#include "harness/reports.h"

namespace sbench {
namespace {

struct ReportFlags {
  std::string result;
  std::string format = "html";
  std::string output;
};

int report_command(const ReportFlags& flags, Console& console) {
  std::filesystem::path result = flags.result;
  if (std::filesystem::is_directory(result)) {
    result /= "result.json";
  }
  const bool html = flags.format == "html";
  std::vector<std::string> arguments = {flags.format == "markdown" ? "report-markdown" : flags.format, result.string()};
  std::string html_path;
  if (html) {
    const auto folder = result.has_parent_path() ? result.parent_path() : std::filesystem::path(".");
    html_path = flags.output.empty() ? (folder / "report.html").string() : flags.output;
    const auto figures = std::filesystem::path(html_path).replace_filename("figures");
    arguments.insert(arguments.end(), {"-o", html_path, "--figures", figures.string()});
  } else if (flags.format == "table") {
    arguments.insert(arguments.end(), {"--width", std::to_string(console.columns), "--color",
                                       console.out_is_terminal ? "always" : "never"});
  }
  const auto output = run_reports(arguments);
  if (!output.ok()) {
    console.err << "sbench: " << output.error().what << "\n";
    return kExitError;
  }
  console.err << output->stderr_text;
  console.out << output->stdout_text;
  if (html && output->exit_code == 0) {
    console.out << html_path << "\n";
  }
  return output->exit_code;
}

}  // namespace

void add_report_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<ReportFlags>();
  CLI::App* command = program.add_subcommand("report", "Draw a stored result: HTML with figures, Markdown, table, JSON");
  command->add_option("result", flags->result, "result.json, or the folder that holds it")->required();
  command->add_option("--format", flags->format, "html, markdown, table or json")
      ->check(CLI::IsMember({"html", "markdown", "table", "json"}))
      ->capture_default_str();
  command->add_option("-o,--output", flags->output, "the HTML file; default: report.html beside the result");
  command->callback([flags, &context] { context.exit_code = report_command(*flags, context.console); });
}

}  // namespace sbench
