#include "drivers/base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

/// Reads a leading decimal number and removes it from `text`; false when there is none.
bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::uint64_t parse_size(std::string_view text, std::string_view what) {
  const std::string_view whole = text;
  std::uint64_t number = 0;
  bool good = take_number(text, number);
  unsigned shift = 0;
  if (good && !text.empty()) {
    static constexpr std::string_view kUnits = "kmgt";
    const char unit = static_cast<char>(text.front() | 0x20);
    const auto at = kUnits.find(unit);
    if (at != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(at) + 1);
      text.remove_prefix(1);
      if (text == "iB" || text == "B" || text == "b") {
        text = {};
      }
    } else if (text == "B" || text == "b") {
      text = {};
    }
  }
  good = good && text.empty() && number <= (std::numeric_limits<std::uint64_t>::max() >> shift);
  if (!good) {
    throw UsageError("{}: '{}' is not a size; write for example 64K, 512M or 8G", what, whole);
  }
  return number << shift;
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<char, 4> kUnits = {'T', 'G', 'M', 'K'};
  for (unsigned i = 0; i < kUnits.size(); ++i) {
    const unsigned shift = 40 - 10 * i;
    if (bytes != 0 && (bytes & ((std::uint64_t{1} << shift) - 1)) == 0) {
      return fmt::format("{}{}", bytes >> shift, kUnits[i]);
    }
  }
  return fmt::format("{}", bytes);
}

std::string human_size(double bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (std::abs(bytes) >= 1023.95 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::uint64_t parse_duration_s(std::string_view text, std::string_view what) {
  const std::string_view whole = text;
  std::uint64_t total_s = 0;
  bool good = !text.empty();
  while (good && !text.empty()) {
    std::uint64_t number = 0;
    good = take_number(text, number) && number < 100'000'000;
    if (!good) {
      break;
    }
    const char unit = text.empty() ? 's' : text.front();
    good = unit == 's' || unit == 'm' || unit == 'h';
    total_s += number * (unit == 'h' ? 3600 : unit == 'm' ? 60 : 1);
    if (!text.empty()) {
      text.remove_prefix(1);
    }
  }
  if (!good) {
    throw UsageError("{}: '{}' is not a duration; write for example 90s, 10m or 1h30m", what, whole);
  }
  return total_s;
}

std::string human_duration(double seconds) {
  const double size = std::abs(seconds);
  if (size < 1e-6) {
    return fmt::format("{:.0f} ns", seconds * 1e9);
  }
  if (size < 1e-3) {
    return fmt::format("{:.1f} us", seconds * 1e6);
  }
  if (size < 1) {
    return fmt::format("{:.1f} ms", seconds * 1e3);
  }
  if (size < 100) {
    return fmt::format("{:.2f} s", seconds);
  }
  const auto whole = static_cast<long long>(seconds);
  return whole < 3600 ? fmt::format("{}m{:02}s", whole / 60, whole % 60)
                      : fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

}  // namespace sbench
