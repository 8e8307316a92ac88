// usage_error.h: a mistake in what the user wrote (a flag, an option, a file).
//
// Thrown before anything is touched and caught once, in the program's main,
// which prints the text as one line and exits with 2. The text says what to do.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sbench {

class UsageError : public std::runtime_error {
 public:
  template <typename... Args>
  explicit UsageError(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)) {}
};

}  // namespace sbench
