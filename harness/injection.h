// injection.h: a slowdown on purpose, so that the nightly gate can be put to the test
// (METHOD d.6): real waiting and real device writes, inside the timed region of the
// cases it names. A result made with it says so and never enters a baseline.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <regex>
#include <string>

#include "drivers/base/result.h"

namespace sbench {

class Injection {
 public:
  /// "REGEX=slow:20%" waits a fifth of the time each timed phase took; "REGEX=write:1400K"
  /// writes that much to the driver's device, once a sample. REGEX is searched in the case's
  /// name. Nothing for an empty text; throws UsageError for a bad one.
  [[nodiscard]] static std::optional<Injection> parse(const std::string& text);

  [[nodiscard]] bool hits(const std::string& case_name) const { return std::regex_search(case_name, cases_); }
  /// Waits: `seconds` is what the phase took by itself.
  void slow_down(double seconds) const;
  /// Writes, past the page cache, to an unnamed file on the file system of `folder`; its space is free again afterwards.
  [[nodiscard]] Status write(const std::filesystem::path& folder) const;

 private:
  std::regex cases_;
  double slow_share_ = 0;
  std::uint64_t write_bytes_ = 0;
};

}  // namespace sbench
