// environment.h: the machine a result belongs to, in METHOD.md's three tiers.
//
// identity: hashed into every series key; a change starts a new baseline.
// version:  candidate causes of a change (kernel, tools, modules), never hashed.
// state:    conditions of the moment that can spoil a run.
#pragma once

#include <nlohmann/json.hpp>

#include "drivers/block/device.h"

namespace sbench {

struct Environment {
  nlohmann::json identity;
  nlohmann::json version;
  nlohmann::json state;
};

[[nodiscard]] Environment read_environment(const Device& device);

/// What the machine did to the run since `state` was read: {steal_percent, throttles}; parts it cannot tell are left
/// out (no counters, or another boot).
[[nodiscard]] nlohmann::json disturbance_since(const nlohmann::json& state);

/// "loop", "real", "folder", or "ubd": the image file that a guest kernel sees as a disk.
[[nodiscard]] const char* device_kind(const Device& device);

/// Google Benchmark's `context` object, filled as its own reporter would.
[[nodiscard]] nlohmann::json benchmark_context();

/// sha256 over `identity` and the case's name: the series a sample belongs to.
[[nodiscard]] std::string series_key(const nlohmann::json& identity, const std::string& case_name);

/// "2026-11-23T21:00:00.123Z".
[[nodiscard]] std::string utc_now();

}  // namespace sbench
