// must.h: what a test expects to work, and the errno of what it does not.
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>

#include "drivers/base/result.h"

namespace sbench::test {

/// Unwraps a Result in a test, failing it with the error's text.
template <typename T>
T must(Result<T> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.error().what;
    throw std::runtime_error(result.error().what);
  }
  return std::move(result).value();
}
inline void must(const Status& status) {
  if (!status.ok()) {
    ADD_FAILURE() << status.error().what;
    throw std::runtime_error(status.error().what);
  }
}

/// The errno of a failure, 0 for success.
template <typename T>
int code_of(const Result<T>& result) {
  return result.ok() ? 0 : result.error().code;
}

}  // namespace sbench::test
