// no_engine.h: a driver that is listed, with the reason why it cannot run.
//
// For drivers whose facility this host, or this sbench, does not have: they
// stand in `sbench list` and in results, and refuse with the same words.
#pragma once

#include <functional>
#include <string>

#include "drivers/driver.h"

namespace sbench {

/// A spec whose probe, format and open all say what `probe` says; it never answers "available".
[[nodiscard]] DriverSpec no_engine_spec(std::string name, std::string summary, std::function<Availability()> probe);

}  // namespace sbench
