// sampler.h: readings of process, device and memory counters, and their differences.
#pragma once

#include <cstdint>

#include "drivers/block/device.h"
#include "drivers/driver.h"

namespace sbench {

/// Cumulative counters of this process, its finished children (getrusage) and its helpers, living or not.
struct ProcessCounters {
  double cpu_user_s = 0;
  double cpu_sys_s = 0;
  double cpu_helpers_s = 0;  ///< the helpers' part of the two above (base/helper.h)
  std::uint64_t major_faults = 0;
  std::uint64_t minor_faults = 0;
  std::uint64_t ctx_switches = 0;

  ProcessCounters& operator+=(const ProcessCounters& other);
  friend ProcessCounters operator-(const ProcessCounters& after, const ProcessCounters& before);
};

[[nodiscard]] ProcessCounters read_process_counters();

/// Bytes of file pages in the page cache: Cached - Shmem of /proc/meminfo.
[[nodiscard]] Result<std::uint64_t> read_page_cache_bytes();

/// Syncs the driver, then waits until the device has nothing in flight and its
/// counters rest, at most 2 s. Returns false when it did not come to rest.
[[nodiscard]] Result<bool> quiesce(Driver& driver, const Device& device);

/// Drops the page cache and reclaimable dentries and inodes of the whole system.
[[nodiscard]] Status drop_system_caches();

}  // namespace sbench
