// console.h: where a command writes: results to one stream, everything else to another.
//
// Injected into every command, so that whole commands run in tests.
#pragma once

#include <istream>
#include <ostream>

namespace sbench {

struct Console {
  std::istream& in;
  std::ostream& out;  ///< results only
  std::ostream& err;  ///< progress and messages
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int columns = 80;  ///< width of the terminal behind `out`
};

/// Exit codes of every command (METHOD.md d.7).
enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitRegression = 3,
  kExitInconclusive = 4,
  kExitNothingRan = 5,
  kExitSkipped =
      77,  ///< run --skip-exit: all that was asked for is unsupported here (automake's, Meson's, CTest's skip)
};

}  // namespace sbench
