// reports.h: the Python side, called as a program: tables, HTML, Markdown.
#pragma once

#include <string>
#include <vector>

#include "drivers/base/process.h"

namespace sbench {

/// Runs `python3 -m reports ARGUMENTS` with the interpreter that has numpy.
/// ENOENT with the remedy when there is none.
[[nodiscard]] Result<ProgramOutput> run_reports(const std::vector<std::string>& arguments);

}  // namespace sbench
