// usage_error.h: a mistake in what the user wrote (a flag, an option, a file).
//
// Thrown before anything is touched and caught once, in the program's main,
// which prints the text as one line and exits with 2. The text says what to do.
#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "drivers/base/result.h"

namespace sbench {

class UsageError : public std::runtime_error {
 public:
  template <typename... Args>
  explicit UsageError(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(printable(fmt::format(format, std::forward<Args>(args)...))) {}
};

/// `error` was met while reading what the user named. Missing memory is no mistake of theirs: std::bad_alloc.
[[noreturn]] inline void throw_usage(const Error& error) {
  if (error.code == ENOMEM) {
    throw std::bad_alloc();
  }
  throw UsageError("{}", error.what);
}

}  // namespace sbench
