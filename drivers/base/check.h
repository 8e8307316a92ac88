// check.h: assertions about our own code, compiled into every build.
//
// A failed SBENCH_CHECK is a bug in sbench: it prints the place and aborts.
// Damaged input, full disks and wrong flags are never checked this way.
#pragma once

#include <new>

namespace sbench {

/// For what fails, used rightly, only where a library or the kernel found no memory: throws std::bad_alloc then.
inline void need_memory(bool found) {
  if (!found) {
    throw std::bad_alloc();
  }
}

/// Prints "sbench: bug: file:line: condition" on stderr and aborts.
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace sbench

#define SBENCH_CHECK(condition)                                  \
  do {                                                           \
    if (!(condition)) [[unlikely]] {                             \
      ::sbench::check_failed(#condition, __FILE__, __LINE__);    \
    }                                                            \
  } while (false)
