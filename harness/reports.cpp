#include "harness/reports.h"

#include <cstdlib>
#include <filesystem>

namespace sbench {
namespace {

/// An interpreter that can import numpy: a bare python3 earlier in PATH may lack it.
std::string find_python() {
  const char* chosen = std::getenv("SBENCH_PYTHON");
  for (const std::string& candidate : {std::string(chosen != nullptr ? chosen : ""), std::string("/usr/bin/python3"),
                                       std::string("python3")}) {
    if (!candidate.empty() && run_checked({candidate, "-c", "import numpy"}).ok()) {
      return candidate;
    }
  }
  return {};
}

}  // namespace

std::filesystem::path shipped_folder() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto installed = program.parent_path().parent_path() / "share/sbench";
  return !error && std::filesystem::exists(installed / "reports") ? installed
                                                                  : std::filesystem::path(SBENCH_SOURCE_DIR);
}

Result<ProgramOutput> run_reports(const std::vector<std::string>& arguments, TextTarget target,
                                  const std::function<void(std::string_view)>& take_stderr) {
  const std::string python = find_python();
  if (python.empty()) {
    return plain_error(ENOENT, "cannot draw reports: no python3 with numpy; install python3-numpy and "
                               "python3-matplotlib, or name an interpreter in SBENCH_PYTHON");
  }
  // Not `-m reports`: that would look in the current folder first.
  static const std::string kStart = "import runpy, sys; sys.path[0] = sys.argv.pop(1); "
                                    "runpy.run_module('reports', run_name='__main__', alter_sys=True)";
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);  // the gate starts confirmation runs
  std::vector<std::string> argv = {"env", "PYTHONDONTWRITEBYTECODE=1", "SBENCH_PROGRAM=" + program.string(),
                                   "COLUMNS=" + std::to_string(target.columns),
                                   target.is_terminal ? "SBENCH_TERMINAL=1" : "SBENCH_TERMINAL=", python, "-c", kStart,
                                   shipped_folder().string()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run_program(argv, take_stderr);
}

}  // namespace sbench
