#include "harness/live_case.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "drivers/base/helper.h"
#include "drivers/base/user_namespace.h"
#include "harness/environment.h"

namespace sbench {
namespace {

template <typename Value>
Value& named(std::vector<std::pair<std::string, Value>>& items, std::string_view name) {
  for (auto& [key, value] : items) {
    if (key == name) {
      return value;
    }
  }
  return items.emplace_back(std::string(name), Value{}).second;
}

void add_time(Sample& sample, std::string_view name, double seconds, bool timed) {
  PhaseTime& phase = named(sample.phases, name);
  phase.seconds += seconds;
  ++phase.count;
  phase.timed = timed;
}

/// A longer operation is not repeated: it does not fit a time slice, and repeating it costs what more blocks cost.
constexpr double kRepeatedSeconds = 0.05;
constexpr std::size_t kExecutionsMax = 15;

}  // namespace

Result<std::vector<double>> executions(double first_s, const std::function<Result<double>()>& again) {
  std::vector<double> seconds = {first_s};
  for (double total_s = first_s; total_s < kRepeatedSeconds && seconds.size() < kExecutionsMax; total_s += seconds.back()) {
    SBENCH_TRY_SET(const double next_s, again());
    seconds.push_back(next_s);
  }
  return seconds;
}

Status LiveCase::begin() {
  reset_helper_peak();
  sample_.started = utc_now();
  sample_.device_counted = store_.device().counted();
  SBENCH_TRY_SET(space_before_, space());
  SBENCH_TRY_SET(delta_mark_, store_.device().counters());
  return {};
}

Status LiveCase::end() {
  SBENCH_TRY(settle());
  sample_.helpers_rss_peak_bytes = helper_memory().rss_peak_bytes;
  SBENCH_TRY_SET(const Space after, space());
  sample_.space_bytes = static_cast<std::int64_t>(after.bytes) - static_cast<std::int64_t>(space_before_.bytes);
  sample_.inodes = static_cast<std::int64_t>(after.inodes) - static_cast<std::int64_t>(space_before_.inodes);
  return {};
}

LayerId LiveCase::unique_id(std::string_view prefix) { return fmt::format("{}-{}-{}", prefix, serial_, ++ids_); }

Status LiveCase::fixture(const LayerId& name, const std::function<Status()>& make) {
  SBENCH_TRY(settle());
  SBENCH_TRY_SET(const auto layers, driver().list());
  const bool present = std::any_of(layers.begin(), layers.end(), [&](const auto& row) { return row.first == name; });
  if (present) {
    return {};
  }
  SBENCH_TRY(make());
  SBENCH_TRY(quiet());
  SBENCH_TRY_SET(space_before_, space());  // a fixture stays: it is not this case's growth
  return {};
}

Status LiveCase::cold() {
  SBENCH_TRY(settle());
  if (!in_user_namespace()) {
    return store_.reopen(true);
  }
  if (!store_.device().counted()) {
    return cannot_run("the page cache cannot be emptied without root",
                      "run sbench as root, or with --in uml; zfs:engine=userspace can be cold here");
  }
  return store_.reopen(false);  // its own I/O goes past the page cache, and its mounts' caches go with them
}

Status LiveCase::timed(std::string_view name, const std::function<Status()>& body) {
  if (!running_) {
    SBENCH_TRY_SET(const DeviceCounters device, store_.device().counters());
    SBENCH_TRY_SET(const std::uint64_t cached, read_page_cache_bytes());
    running_ = Running{device, cached};
  }
  const ProcessCounters before = read_process_counters();
  SBENCH_TRY_SET(const double seconds, run_timed(body));
  sample_.process += read_process_counters() - before;
  sample_.real_s += seconds;
  add_time(sample_, name, seconds, true);
  return {};
}

Result<double> LiveCase::run_timed(const std::function<Status()>& body) {
  const std::uint64_t start_ns = clock_ns();
  SBENCH_TRY(body());
  if (injection_ != nullptr) {
    injection_->slow_down(static_cast<double>(clock_ns() - start_ns) * 1e-9);
    SBENCH_TRY(std::exchange(injected_write_, true) ? Status{} : injection_->write(store_.root()));
    flag("injected");
  }
  return static_cast<double>(clock_ns() - start_ns) * 1e-9;
}

Status LiveCase::timed_median(std::string_view name, const std::function<Status()>& body) {
  const double before_s = sample_.real_s;
  SBENCH_TRY(timed(name, body));
  SBENCH_TRY(settle());
  const double first_s = sample_.real_s - before_s;
  SBENCH_TRY_SET(std::vector<double> seconds, executions(first_s, [&] { return run_timed(body); }));
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  sample_.real_s = before_s + *middle;
  named(sample_.phases, name).seconds += *middle - first_s;
  metric("executions", static_cast<double>(seconds.size()));
  metric("fastest_execution_s", *std::min_element(seconds.begin(), seconds.end()));  // what load disturbs least: the gate's reading
  return {};
}

Status LiveCase::phase(std::string_view name, const std::function<Status()>& body) {
  SBENCH_TRY(settle());
  const std::uint64_t start_ns = clock_ns();
  Status status = body();
  add_time(sample_, name, static_cast<double>(clock_ns() - start_ns) * 1e-9, false);
  return status;
}

Status LiveCase::quiet() {
  SBENCH_TRY_SET(const bool quiet_now, quiesce(driver(), store_.device()));
  if (!quiet_now) {
    flag("quiesce_timeout");
  }
  return {};
}

Status LiveCase::settle() {
  if (!running_) {
    return {};
  }
  SBENCH_TRY_SET(const std::uint64_t cached, read_page_cache_bytes());
  SBENCH_TRY(quiet());
  SBENCH_TRY_SET(const DeviceCounters now, store_.device().counters());
  const DeviceCounters delta = now - running_->device;
  DeviceCounters& total = sample_.device;
  total.reads += delta.reads;
  total.bytes_read += delta.bytes_read;
  total.writes += delta.writes;
  total.bytes_written += delta.bytes_written;
  total.discards += delta.discards;
  total.bytes_discarded += delta.bytes_discarded;
  total.flushes += delta.flushes;
  total.busy_ms += delta.busy_ms;
  sample_.page_cache_bytes += static_cast<std::int64_t>(cached) - static_cast<std::int64_t>(running_->page_cache_bytes);
  running_.reset();
  return {};
}

void LiveCase::metric(std::string_view name, double value) { named(sample_.metrics, name) = value; }

void LiveCase::flag(std::string_view name) {
  if (std::find(sample_.flags.begin(), sample_.flags.end(), name) == sample_.flags.end()) {
    sample_.flags.emplace_back(name);
  }
}

Result<Case::DeviceDelta> LiveCase::device_delta() {
  SBENCH_TRY(settle());
  SBENCH_TRY(quiet());
  SBENCH_TRY_SET(const DeviceCounters now, store_.device().counters());
  const DeviceCounters delta = now - delta_mark_;
  delta_mark_ = now;
  return DeviceDelta{delta.bytes_read, delta.bytes_written, store_.device().counted()};
}

Result<Case::Space> LiveCase::space() {
  SBENCH_TRY(settle());
  SBENCH_TRY(driver().sync());
  SBENCH_TRY_SET(const Usage usage, driver().store_usage());
  return Space{usage.bytes_allocated, usage.inodes};
}

Result<std::uint64_t> LiveCase::page_cache_bytes() { return read_page_cache_bytes(); }

void LiveCase::record_latency(std::string_view name, std::uint64_t latency_ns) {
  named(sample_.latencies, name).add(latency_ns);
}

}  // namespace sbench
