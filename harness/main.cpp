// main.cpp: the sbench program: real streams around run_cli().
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <string_view>
#include <system_error>

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

/// Memory that is missing where nothing could catch it, in a thread or a destructor, is an error with a name, too.
[[noreturn]] void end_without_memory() {
  bool missing = false;
  try {
    if (const auto reason = std::current_exception()) {
      std::rethrow_exception(reason);
    }
  } catch (const std::bad_alloc&) {
    missing = true;
  } catch (const std::system_error& error) {  // no thread
    missing = error.code() == std::errc::resource_unavailable_try_again || error.code() == std::errc::not_enough_memory;
  } catch (...) {
  }
  if (missing) {
    constexpr std::string_view kSaid = "sbench: out of memory; sbench clean removes what is left\n";
    static_cast<void>(!::write(STDERR_FILENO, kSaid.data(), kSaid.size()));
    ::_exit(sbench::kExitError);
  }
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  std::set_terminate(end_without_memory);
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
