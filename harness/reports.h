// reports.h: the Python side, called as a program: tables, HTML, Markdown.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/process.h"

namespace sbench {

/// What sbench ships beside its program: the source tree, or share/sbench of an installation.
[[nodiscard]] std::filesystem::path shipped_folder();

/// Where text will be shown: Python writes into a pipe and cannot see it.
struct TextTarget {
  int columns = 80;
  bool is_terminal = false;
};

/// Runs `python3 -m reports ARGUMENTS` with the interpreter that has numpy.
/// ENOENT with the remedy when there is no such interpreter. `take_stderr` as in run_program().
[[nodiscard]] Result<ProgramOutput> run_reports(const std::vector<std::string>& arguments, TextTarget target = {},
                                                const std::function<void(std::string_view)>& take_stderr = {});

}  // namespace sbench
