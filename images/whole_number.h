// whole_number.h: counts in JSON from elsewhere. nlohmann-json's own conversion takes 1e84 for one, which C++ leaves undefined.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace sbench {

/// Throws a json::exception that calls the value `what` where it is no whole number from 0 to `max`.
inline std::uint64_t whole_number(const nlohmann::json& value, const std::string& what,
                                  std::uint64_t max = std::numeric_limits<std::uint64_t>::max()) {
  const bool whole = value.is_number_integer() && (value.is_number_unsigned() || value.get<std::int64_t>() >= 0);
  if (!whole) {
    throw nlohmann::json::other_error::create(501, what + " is no whole number", &value);
  }
  if (value.get<std::uint64_t>() > max) {
    throw nlohmann::json::other_error::create(501, what + " is out of range", &value);
  }
  return value.get<std::uint64_t>();
}

}  // namespace sbench
