// campaign.h: cases one after the other, each disturbed by one fault and then looked at from outside: did it end,
// is anything left, is its result valid and can it be finished, is the damage named, are the numbers those of an
// undisturbed run, and is every acknowledged byte there.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "drivers/base/result.h"
#include "harness/console.h"

namespace sbench::soak {

struct SoakRequest {
  double limit_s = 0;        ///< of the whole; 0: until the counts below are reached
  std::uint64_t kills = 0;   ///< both 0: until the time is over, half and half
  std::uint64_t faults = 0;
  std::uint64_t seed = 0;
  std::vector<std::string> drivers;
  std::vector<std::string> only;  ///< kinds of fault; none: all
  std::filesystem::path work_folder = "/dev/shm";
  std::filesystem::path findings;  ///< where the files of cases with a finding are kept
  unsigned hang_after_s = 120;
  std::string program;  ///< sbench itself
};

/// Runs it, in this process, which gets a mount namespace of its own and reaps what its children leave. Returns the
/// record that `sbench soak -o` writes; `findings` in it is empty when nothing was found.
[[nodiscard]] Result<nlohmann::json> run_soak(const SoakRequest& request, Console& console);

/// Whether memory (seconds since the start, KiB) stayed flat: the median of the last quarter of the time is at most
/// `growth_max_kib` above that of the second; the first fills tables that stay. `flat` is null for less than ten minutes.
[[nodiscard]] nlohmann::json judge_memory(const std::vector<std::pair<double, long>>& points);

/// A row a driver: kills, faults and what was found, as Markdown.
[[nodiscard]] std::string table_of(const nlohmann::json& record);
/// Some lines below the table: how many of each kind, what was not hit, the memory and whether it stayed flat.
[[nodiscard]] std::string summary_of(const nlohmann::json& record);

}  // namespace sbench::soak
