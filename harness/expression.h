// expression.h: regular expressions that a user gives.
#pragma once

#include <regex>
#include <string>

namespace sbench {

/// ECMAScript's; UsageError naming `option` where the text is none.
[[nodiscard]] std::regex user_expression(const std::string& text, const std::string& option);

}  // namespace sbench
