#include "harness/expression.h"

#include <algorithm>
#include <cctype>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

/// libstdc++ 12 computes the numbers after \ and in {} without looking for overflow.
bool has_huge_number(const std::string& text) {
  constexpr int kDigitsMax = 9;
  int digits = 0;
  return std::any_of(text.begin(), text.end(), [&digits](unsigned char c) {
    digits = std::isdigit(c) != 0 ? digits + 1 : 0;
    return digits > kDigitsMax;
  });
}

}  // namespace

std::regex user_expression(const std::string& text, const std::string& option) {
  try {
    if (!has_huge_number(text)) {
      return std::regex(text, std::regex::ECMAScript | std::regex::optimize);
    }
  } catch (const std::regex_error&) {
  }
  throw UsageError("{} '{}' is not a regular expression; quote special characters with \\", option, text);
}

}  // namespace sbench
