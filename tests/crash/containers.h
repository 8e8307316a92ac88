// containers.h: what is done to a driver while its device's writes are logged.
//
// Two image layers are applied and committed; containers on them append to logs, patch tables,
// swap configurations, pass a spool, commit SQLite transactions, delete files, and write what
// nobody syncs, two of them at the same time; a container becomes a layer with a container on it; another is removed.
// Before each step a mark says what is tried, after its fsync returned another says that it is done:
//   layer prepare KEY, layer commit NAME KEY, layer remove ID    it begins
//   synced                                                       Driver::sync() returned
//   try KEY KIND VERSION PATH, did KEY KIND VERSION PATH         a file of the container KEY
#pragma once

#include "drivers/driver.h"
#include "tests/crash/container_files.h"
#include "tests/crash/marks.h"

namespace sbench::crash {

/// `steps`: of the first container's files; the whole takes about twice as many. The same seed does the same.
[[nodiscard]] Status run_containers(Driver& driver, const ContainerImage& image, Marks& marks, std::uint64_t seed,
                                    int steps);

/// The layers of the image, and the containers on them.
inline constexpr const char* kBaseLayer = "base";
inline constexpr const char* kAppLayer = "app";

}  // namespace sbench::crash
