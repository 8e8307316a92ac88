// check.h: assertions about our own code, compiled into every build.
//
// A failed SBENCH_CHECK is a bug in sbench: it prints the place and aborts.
// Damaged input, full disks and wrong flags are never checked this way.
#pragma once

namespace sbench {

/// Prints "sbench: bug: file:line: condition" on stderr and aborts.
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace sbench

#define SBENCH_CHECK(condition)                                  \
  do {                                                           \
    if (!(condition)) [[unlikely]] {                             \
      ::sbench::check_failed(#condition, __FILE__, __LINE__);    \
    }                                                            \
  } while (false)
