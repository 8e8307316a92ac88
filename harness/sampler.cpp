#include "harness/sampler.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

#include "drivers/base/file.h"
#include "drivers/base/helper.h"

namespace sbench {
namespace {

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

ProcessCounters read_usage(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  ProcessCounters counters;
  counters.cpu_user_s = seconds(usage.ru_utime);
  counters.cpu_sys_s = seconds(usage.ru_stime);
  counters.major_faults = static_cast<std::uint64_t>(usage.ru_majflt);
  counters.minor_faults = static_cast<std::uint64_t>(usage.ru_minflt);
  counters.ctx_switches = static_cast<std::uint64_t>(usage.ru_nvcsw + usage.ru_nivcsw);
  return counters;
}

Result<std::uint64_t> meminfo_bytes(const std::string& text, const char* name) {
  const auto at = text.find(name);
  unsigned long long kib = 0;
  if (at == std::string::npos || std::sscanf(text.c_str() + at + std::char_traits<char>::length(name), "%llu", &kib) != 1) {
    return plain_error(EPROTO, "cannot find {} in /proc/meminfo", name);
  }
  return std::uint64_t{kib} * 1024;
}

}  // namespace

ProcessCounters& ProcessCounters::operator+=(const ProcessCounters& other) {
  cpu_user_s += other.cpu_user_s;
  cpu_sys_s += other.cpu_sys_s;
  cpu_helpers_s += other.cpu_helpers_s;
  major_faults += other.major_faults;
  minor_faults += other.minor_faults;
  ctx_switches += other.ctx_switches;
  return *this;
}

ProcessCounters operator-(const ProcessCounters& after, const ProcessCounters& before) {
  ProcessCounters delta;
  // A helper's split into user and system time is an estimate while it lives: neither part may go back.
  delta.cpu_user_s = std::max(0.0, after.cpu_user_s - before.cpu_user_s);
  delta.cpu_sys_s = std::max(0.0, after.cpu_sys_s - before.cpu_sys_s);
  delta.cpu_helpers_s = std::max(0.0, after.cpu_helpers_s - before.cpu_helpers_s);
  delta.major_faults = after.major_faults - before.major_faults;
  delta.minor_faults = after.minor_faults - before.minor_faults;
  delta.ctx_switches = after.ctx_switches - before.ctx_switches;
  return delta;
}

ProcessCounters read_process_counters() {
  ProcessCounters counters = read_usage(RUSAGE_SELF);
  const HelperCpu helpers = helper_cpu();  // reaps those that ended: before RUSAGE_CHILDREN is read
  counters += read_usage(RUSAGE_CHILDREN);
  counters.cpu_user_s += helpers.user_s - helpers.reaped_user_s;
  counters.cpu_sys_s += helpers.sys_s - helpers.reaped_sys_s;
  counters.cpu_helpers_s = helpers.user_s + helpers.sys_s;
  return counters;
}

Result<std::uint64_t> read_page_cache_bytes() {
  SBENCH_TRY_SET(const std::string text, read_text("/proc/meminfo"));
  SBENCH_TRY_SET(const std::uint64_t cached, meminfo_bytes(text, "\nCached:"));
  SBENCH_TRY_SET(const std::uint64_t shmem, meminfo_bytes(text, "\nShmem:"));
  return cached > shmem ? cached - shmem : 0;
}

Result<bool> quiesce(Driver& driver, const Device& device) {
  constexpr timespec kPause{0, 2'000'000};
  constexpr int kPausesMax = 1000;
  SBENCH_TRY(driver.sync());
  SBENCH_TRY_SET(DeviceCounters before, device.counters());
  for (int pause = 0; pause < kPausesMax; ++pause) {
    ::nanosleep(&kPause, nullptr);
    SBENCH_TRY_SET(const DeviceCounters now, device.counters());
    const DeviceCounters delta = now - before;
    if (now.in_flight == 0 && delta.writes == 0 && delta.reads == 0 && delta.discards == 0) {
      return true;
    }
    before = now;
  }
  return false;
}

Status drop_system_caches() {
  SBENCH_TRY_SET(const Fd fd, open_file("/proc/sys/vm/drop_caches", O_WRONLY));
  return write_all(fd.get(), "3", "/proc/sys/vm/drop_caches");
}

}  // namespace sbench
