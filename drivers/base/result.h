// result.h: how an operation that can fail because of the outside world says so.
//
// An Error is an errno and a sentence naming what was being done to what.
// Result<T> is a T or an Error; Status is a Result without a value. Users'
// mistakes are UsageError (usage_error.h), bugs are SBENCH_CHECK (check.h).
#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include "drivers/base/check.h"

namespace sbench {

/// What went wrong in the outside world. `code` is an errno and never 0;
/// `what` reads "cannot open /dev/loop3: No such file or directory".
struct Error {
  int code = EIO;
  std::string what;
};

/// Control characters, which a name or a label from elsewhere may have, as question marks: a message stays one line, and
/// commands a terminal nothing.
[[nodiscard]] inline std::string printable(std::string text) {
  for (char& each : text) {
    const auto byte = static_cast<unsigned char>(each);
    each = byte < 0x20 || byte == 0x7f ? '?' : each;
  }
  return text;
}

/// What a message quotes of a name that may be long: its beginning.
[[nodiscard]] inline std::string_view shown(std::string_view name) { return name.substr(0, 256); }

/// Error with `code`; the message gets ": strerror(code)" appended.
template <typename... Args>
[[nodiscard]] Error make_error(int code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, printable(fmt::format(format, std::forward<Args>(args)...)) + ": " +
                         std::generic_category().message(code)};
}

/// Error from the calling thread's errno; call it before anything changes errno.
template <typename... Args>
[[nodiscard]] Error errno_error(fmt::format_string<Args...> format, Args&&... args) {
  const int code = errno;
  return make_error(code, format, std::forward<Args>(args)...);
}

/// Error whose sentence is complete as it stands: no strerror text is appended.
template <typename... Args>
[[nodiscard]] Error plain_error(int code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, printable(fmt::format(format, std::forward<Args>(args)...))};
}

/// A value or the Error that kept it from being made.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  /// The value; a bug when !ok().
  T& value() & {
    SBENCH_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    SBENCH_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    SBENCH_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  /// The error; a bug when ok().
  const Error& error() const {
    SBENCH_CHECK(!ok());
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    SBENCH_CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace sbench

#define SBENCH_CONCAT_INNER(a, b) a##b
#define SBENCH_CONCAT(a, b) SBENCH_CONCAT_INNER(a, b)

/// Returns the Error of `expression` from the enclosing function, if it has one.
/// The expression may hold lambdas that use the macro themselves.
#define SBENCH_TRY(expression) SBENCH_TRY_NAMED(SBENCH_CONCAT(sbench_status_, __COUNTER__), expression)
#define SBENCH_TRY_NAMED(name, expression)       \
  do {                                           \
    if (auto name = (expression); !name.ok()) {  \
      return name.error();                       \
    }                                            \
  } while (false)

/// `SBENCH_TRY_SET(auto fd, open_file(path));` binds the value or returns the Error.
#define SBENCH_TRY_SET(declaration, expression) \
  SBENCH_TRY_SET_NAMED(SBENCH_CONCAT(sbench_result_, __COUNTER__), declaration, expression)
#define SBENCH_TRY_SET_NAMED(name, declaration, expression) \
  auto name = (expression);                                 \
  if (!name.ok()) {                                         \
    return name.error();                                    \
  }                                                         \
  declaration = std::move(name).value()
