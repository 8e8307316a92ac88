// clock.h: the wall clock of one case, which can be set without touching the machine's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::soak {

/// The library that does it (clock/step.cpp), beside this program or where it is installed; empty: there is none.
[[nodiscard]] std::filesystem::path clock_library();

class CaseClock {
 public:
  /// `file` is made; it is what the case's processes look at.
  [[nodiscard]] static Result<CaseClock> make(const std::filesystem::path& file);
  /// NAME=VALUE for the environment of what is to live by this clock.
  [[nodiscard]] std::vector<std::string> environment() const;
  [[nodiscard]] Status step(std::int64_t seconds) const;
  /// Whether any process has been told a time after the step.
  [[nodiscard]] bool seen() const;

 private:
  explicit CaseClock(std::filesystem::path file) : file_(std::move(file)) {}
  std::filesystem::path file_;
};

}  // namespace sbench::soak
