// units.h: sizes and durations as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sbench {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

/// "4096", "64K", "512k", "8M", "10G", "1T", "16MiB": bytes (powers of 1024).
/// Throws UsageError naming `what` when `text` is not such a size.
[[nodiscard]] std::uint64_t parse_size(std::string_view text, std::string_view what);

/// Exact when a whole unit divides it: 65536 → "64K", 4097 → "4097". parse_size reads it back.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// For people: "63.9 MiB", "512 B".
[[nodiscard]] std::string human_size(double bytes);

/// "90s", "10m", "2h", "1h30m": seconds. Throws UsageError naming `what`.
[[nodiscard]] std::uint64_t parse_duration_s(std::string_view text, std::string_view what);

/// For people: "41.8 ms", "3.2 s", "12m40s".
[[nodiscard]] std::string human_duration(double seconds);

}  // namespace sbench
