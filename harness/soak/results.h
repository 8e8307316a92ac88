// results.h: what a run's files say, read as a stranger would.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "drivers/base/result.h"

namespace sbench::soak {

struct RunFiles {
  bool started = false;   ///< run.jsonl has a header
  bool complete = false;  ///< result.json says so
  std::size_t failures = 0;
  std::map<std::string, nlohmann::json> samples;  ///< by case name, whole
};

/// Error: a file is there and is not what it should be. A torn last line of run.jsonl is fine.
[[nodiscard]] Result<RunFiles> read_run(const std::filesystem::path& output);

/// What of a sample does not depend on time: parameters, cache and durability, bytes the application moved, phases and how
/// often each ran, operations of each kind, what the workload counts of its own content.
[[nodiscard]] nlohmann::json exact_part(const nlohmann::json& sample);
/// What a sample says against itself, "" for nothing: its time is that of its timed phases, its histograms hold what they
/// count, no time is negative, no number is none.
[[nodiscard]] std::string contradiction_in(const nlohmann::json& sample);

}  // namespace sbench::soak
