// live_case.h: the Case a workload sees during a run, and the sample it leaves.
#pragma once

#include <optional>
#include <vector>

#include "harness/histogram.h"
#include "harness/injection.h"
#include "harness/sampler.h"
#include "harness/store.h"
#include "workloads/case.h"

namespace sbench {

/// One named stretch of work; repeated stretches of a name add up.
struct PhaseTime {
  double seconds = 0;
  std::uint64_t count = 0;
  bool timed = false;
};

/// Everything measured in one execution of a case.
struct Sample {
  std::string started;                       ///< utc_now() when the case began
  double real_s = 0;                         ///< sum of the timed phases
  ProcessCounters process;                   ///< over the timed phases
  DeviceCounters device;                     ///< over the timed phases, each until the device was quiet
  bool device_counted = true;                ///< false: the device has no counters of its own, `device` says nothing
  std::uint64_t bytes_app_written = 0;
  std::uint64_t bytes_app_read = 0;
  std::int64_t space_bytes = 0;              ///< growth of the store over the whole case
  std::int64_t inodes = 0;
  std::int64_t page_cache_bytes = 0;         ///< growth over the timed phases
  std::uint64_t helpers_rss_peak_bytes = 0;  ///< memory of the driver's servers, over the whole case
  std::vector<std::pair<std::string, PhaseTime>> phases;       ///< in order of first appearance
  std::vector<std::pair<std::string, Histogram>> latencies;
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<std::string> flags;
};

/// Seconds of each execution of a repeatable body, in order: `first_s` of the first, and while they add
/// up to less than 50 ms and are fewer than 15, those that `again` makes.
[[nodiscard]] Result<std::vector<double>> executions(double first_s, const std::function<Result<double>()>& again);

class LiveCase final : public Case {
 public:
  /// `serial` numbers the cases of one store, so that ids stay unique.
  LiveCase(Store& store, const Params& params, std::uint64_t seed, unsigned serial, const BaseImage* image)
      : store_(store), params_(params), seed_(seed), serial_(serial), image_(image) {}

  /// Slows this case down on purpose; call before begin(). `injection` must outlive it.
  void inject(const Injection& injection) { injection_ = &injection; }
  /// Readings before the workload runs.
  [[nodiscard]] Status begin();
  /// Settles and completes the sample.
  [[nodiscard]] Status end();
  [[nodiscard]] const Sample& sample() const { return sample_; }

  Driver& driver() override { return store_.driver(); }
  const Params& params() const override { return params_; }
  Rng rng(std::string_view stream) const override { return Rng(seed_, stream); }
  const BaseImage* image() const override { return image_; }
  LayerId unique_id(std::string_view prefix) override;
  Status fixture(const LayerId& name, const std::function<Status()>& make) override;
  Status cold() override;
  Status timed(std::string_view name, const std::function<Status()>& body) override;
  Status timed_median(std::string_view name, const std::function<Status()>& body) override;
  Status phase(std::string_view name, const std::function<Status()>& body) override;
  Status settle() override;
  void app_wrote(std::uint64_t bytes) override { sample_.bytes_app_written += bytes; }
  void app_read(std::uint64_t bytes) override { sample_.bytes_app_read += bytes; }
  void metric(std::string_view name, double value) override;
  void flag(std::string_view name) override;
  Result<DeviceDelta> device_delta() override;
  Result<Space> space() override;
  Result<std::uint64_t> page_cache_bytes() override;

 protected:
  void record_latency(std::string_view name, std::uint64_t latency_ns) override;

 private:
  [[nodiscard]] Status quiet();
  /// Seconds of `body`, with what is injected into this case.
  [[nodiscard]] Result<double> run_timed(const std::function<Status()>& body);

  Store& store_;
  const Params& params_;
  std::uint64_t seed_;
  unsigned serial_;
  const BaseImage* image_;
  unsigned ids_ = 0;
  Sample sample_;
  Space space_before_;
  DeviceCounters delta_mark_;
  struct Running {
    DeviceCounters device;
    std::uint64_t page_cache_bytes = 0;
  };
  const Injection* injection_ = nullptr;  ///< of this case, if any
  bool injected_write_ = false;
  std::optional<Running> running_;  ///< set from the first timed phase until settle()
};

}  // namespace sbench
