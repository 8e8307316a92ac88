// main.cpp: the sbench program: real streams around run_cli().
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>

#include "harness/cli.h"
#include "harness/guest/guest_init.h"

namespace {

int terminal_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return 80;
}

}  // namespace

int main(int argc, char** argv) {
  if (sbench::is_guest_init()) {
    sbench::run_guest_init(argc, argv);
  }
  sbench::Console console{std::cin, std::cout, std::cerr, ::isatty(STDOUT_FILENO) == 1, ::isatty(STDERR_FILENO) == 1,
                          terminal_columns()};
  try {
    const int code = sbench::run_cli({argv + 1, argv + argc}, console);
    std::cout.flush();
    return std::cout.good() ? code : sbench::kExitError;
  } catch (const std::exception& error) {
    std::cerr << "sbench: unexpected: " << error.what() << "\n";
    return sbench::kExitError;
  }
}
