// case.h: what a workload's run() works with: one case on one open driver.
//
// A case runs in this order: untimed set-up through driver(), fixture() and
// cold(); phases; verification. Time spent in timed() phases adds up to the
// sample's real_time; phase() phases are recorded beside it. Device counters run
// from the first timed phase until the device is quiet after the last one.
// Implemented by the harness; workloads include nothing deeper than this page
// and driver.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "drivers/base/result.h"
#include "drivers/base/rng.h"
#include "drivers/driver.h"

namespace sbench {

struct BaseImage;

/// Parameter name → value as text, in the order of the workload's declaration.
class Params {
 public:
  void set(const std::string& name, const std::string& value);
  /// The value; a bug when the workload did not declare `name`.
  [[nodiscard]] const std::string& text(std::string_view name) const;
  [[nodiscard]] std::uint64_t number(std::string_view name) const;
  /// parse_size of the value.
  [[nodiscard]] std::uint64_t bytes(std::string_view name) const;
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

class Case {
 public:
  virtual ~Case() = default;

  [[nodiscard]] virtual Driver& driver() = 0;
  [[nodiscard]] virtual const Params& params() const = 0;
  /// Numbers that depend on the run's seed and `stream` alone: equal for every driver and block.
  [[nodiscard]] virtual Rng rng(std::string_view stream) const = 0;
  /// The image the user gave as what every workload stands on (content/base_image.h); null: generated layers do.
  [[nodiscard]] virtual const BaseImage* image() const { return nullptr; }
  /// A layer id no other case of this store uses: "prefix" plus a serial number.
  [[nodiscard]] virtual LayerId unique_id(std::string_view prefix) = 0;

  /// The committed layer called `name`, made by `make` (untimed) when this
  /// store does not have it yet; it stays until the store is formatted afresh.
  [[nodiscard]] virtual Status fixture(const LayerId& name, const std::function<Status()>& make) = 0;

  /// Empties caches: syncs, closes the driver, drops the page, dentry and inode
  /// caches, opens the driver again. No Mount may be alive. driver() changes.
  [[nodiscard]] virtual Status cold() = 0;

  /// Runs and records `body` under `name`, counted in real_time. A name may repeat: times add up.
  [[nodiscard]] virtual Status timed(std::string_view name, const std::function<Status()>& body) = 0;
  /// timed() for a body that leaves everything as it found it: a short one runs again and again
  /// within the block, and its time is the median. Device and CPU counters are the first execution's.
  [[nodiscard]] virtual Status timed_median(std::string_view name, const std::function<Status()>& body) = 0;
  /// Runs and records `body` under `name`, not counted in real_time.
  [[nodiscard]] virtual Status phase(std::string_view name, const std::function<Status()>& body) = 0;
  /// Runs one operation inside a phase and adds its latency to the histogram of `name`.
  template <typename Body>
  [[nodiscard]] Status op(std::string_view name, Body&& body) {
    const std::uint64_t start_ns = clock_ns();
    Status status = body();
    record_latency(name, clock_ns() - start_ns);
    return status;
  }

  /// Adds a latency measured elsewhere, by a worker thread; call it from the case's own thread.
  void latency(std::string_view name, std::uint64_t latency_ns) { record_latency(name, latency_ns); }

  /// Ends a stretch of timed phases: syncs the driver, waits until the device is quiet
  /// and stops the device counters, so that what follows (verification, removal) is
  /// not counted. Call it after the last timed phase, before verifying; phase(),
  /// cold(), fixture(), space() and device_delta() imply it. Harmless when nothing runs.
  [[nodiscard]] virtual Status settle() = 0;

  /// Bytes the application itself wrote or read in the timed phases: the base of the amplifications.
  virtual void app_wrote(std::uint64_t bytes) = 0;
  virtual void app_read(std::uint64_t bytes) = 0;
  /// A further number of this sample, under a METHOD-style name with its unit last ("inodes_per_container").
  virtual void metric(std::string_view name, double value) = 0;
  /// A remark kept with the sample ("cache_cold_verified").
  virtual void flag(std::string_view name) = 0;

  /// Why a case cannot be done on this driver or device, and what would help.
  struct Refusal {
    std::string reason;
    std::string remedy;
  };
  /// `return c.cannot_run("...", "...")` ends a case with neither a number nor a failure:
  /// the result lists it as skipped, with the reason.
  [[nodiscard]] Error cannot_run(std::string reason, std::string remedy);
  [[nodiscard]] const std::optional<Refusal>& refusal() const { return refusal_; }

  /// What reached the device since the call before (or since the case began). Syncs the driver first.
  struct DeviceDelta {
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    bool counted = true;  ///< false: this device cannot tell, and both are 0
  };
  [[nodiscard]] virtual Result<DeviceDelta> device_delta() = 0;
  /// Allocated space and inodes of the whole store now. Syncs the driver first.
  struct Space {
    std::uint64_t bytes = 0;
    std::uint64_t inodes = 0;
  };
  [[nodiscard]] virtual Result<Space> space() = 0;
  /// Bytes of file pages in the kernel's page cache now (/proc/meminfo Cached minus Shmem).
  [[nodiscard]] virtual Result<std::uint64_t> page_cache_bytes() = 0;

  /// CLOCK_MONOTONIC.
  [[nodiscard]] static std::uint64_t clock_ns();

 protected:
  virtual void record_latency(std::string_view name, std::uint64_t latency_ns) = 0;

 private:
  std::optional<Refusal> refusal_;
};

/// EINVAL-free verification: an Error saying `what` when `condition` is false.
/// A sample whose verification fails is reported as failed, never as a number.
[[nodiscard]] Status verify(bool condition, std::string_view what);

}  // namespace sbench
