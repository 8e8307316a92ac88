// fake_case.h: a simple Case on a real store, so that workloads are tested without the harness.
//
// The store is a loop image without a name, mounted on a tmpfs of a private mount
// namespace: nothing of it outlives the test program, also when that is killed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/block/device.h"
#include "tests/support/support.h"
#include "workloads/workload.h"

namespace sbench::testing {

/// Puts another driver in front of the one under test.
using Wrap = std::function<std::unique_ptr<Driver>(std::unique_ptr<Driver>)>;

/// A freshly formatted store of `driver` on an image of 2 GiB.
class FakeStore {
 public:
  explicit FakeStore(const std::string& driver, Wrap wrap = {}, const Options& given = {}) : spec_(find_driver(driver)), wrap_(std::move(wrap)) {
    enter_private_namespace();
    static const bool covered = ::mount("sbench-test", "/mnt", "tmpfs", 0, "mode=0755") == 0;
    EXPECT_TRUE(covered) << "cannot mount a tmpfs on /mnt";
    static unsigned serial = 0;
    root_ = fmt::format("/mnt/store-{}", ++serial);
    std::filesystem::create_directory(root_);
    options_ = complete_options(spec_, given);
    auto device = Device::make_image("/var/tmp", 2 * kGiB);
    EXPECT_TRUE(device.ok()) << device.error().what;
    device_ = std::move(device).value();
    const Status formatted = spec_.format(*device_, options_);
    EXPECT_TRUE(formatted.ok()) << formatted.error().what;
    EXPECT_TRUE(open().ok());
  }

  Status open() {
    SBENCH_TRY_SET(driver_, spec_.open(*device_, options_, root_));
    if (wrap_) {
      driver_ = wrap_(std::move(driver_));
    }
    return {};
  }
  void close() { driver_.reset(); }
  Driver& driver() { return *driver_; }
  Device& device() { return *device_; }
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

 private:
  const DriverSpec& spec_;
  Wrap wrap_;
  Options options_;
  std::filesystem::path root_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Driver> driver_;
};

/// Why the store cannot be made here; empty when it can.
inline std::string reason_not_here(const std::string& driver) {
  if (!is_root()) {
    return "needs root";
  }
  const auto& spec = find_driver(driver);
  const Availability availability = spec.probe(complete_options(spec, {}));
  return availability.available ? "" : availability.reason;
}

class FakeCase final : public Case {
 public:
  struct Phase {
    std::uint64_t count = 0;
    bool timed = false;
  };

  FakeCase(FakeStore& store, Params params) : store_(store), params_(std::move(params)) {}

  Driver& driver() override { return store_.driver(); }
  const Params& params() const override { return params_; }
  Rng rng(std::string_view stream) const override { return Rng(20261123, stream); }
  const BaseImage* image() const override { return given_image; }
  LayerId unique_id(std::string_view prefix) override { return fmt::format("{}-{}-{}", prefix, serial(), ++ids_); }

  Status fixture(const LayerId& name, const std::function<Status()>& make) override {
    fixtures.insert(name);
    SBENCH_TRY_SET(const auto layers, driver().list());
    const bool there = std::any_of(layers.begin(), layers.end(), [&](const auto& row) { return row.first == name; });
    return there ? Status() : make();
  }

  Status cold() override {
    SBENCH_TRY(driver().sync());
    store_.close();
    SBENCH_TRY_SET(const Fd fd, open_file("/proc/sys/vm/drop_caches", O_WRONLY));
    SBENCH_TRY(write_all(fd.get(), "3", "/proc/sys/vm/drop_caches"));
    return store_.open();
  }

  Status timed(std::string_view name, const std::function<Status()>& body) override { return run(name, body, true); }
  /// Twice, so that a body that does not leave everything as it found it fails its verification.
  Status timed_median(std::string_view name, const std::function<Status()>& body) override {
    SBENCH_TRY(run(name, body, true));
    return body();
  }
  Status phase(std::string_view name, const std::function<Status()>& body) override { return run(name, body, false); }
  Status settle() override { return driver().sync(); }
  void app_wrote(std::uint64_t bytes) override { bytes_app_written += bytes; }
  void app_read(std::uint64_t bytes) override { bytes_app_read += bytes; }
  void metric(std::string_view name, double value) override { metrics[std::string(name)] = value; }
  void flag(std::string_view name) override { flags.insert(std::string(name)); }

  Result<DeviceDelta> device_delta() override {
    SBENCH_TRY(driver().sync());
    SBENCH_TRY_SET(const DeviceCounters now, quiet_counters());
    const DeviceCounters delta = now - mark_;
    mark_ = now;
    return DeviceDelta{delta.bytes_read, delta.bytes_written};
  }

  Result<Space> space() override {
    SBENCH_TRY(driver().sync());
    SBENCH_TRY_SET(const Usage usage, driver().store_usage());
    return Space{usage.bytes_allocated, usage.inodes};
  }

  Result<std::uint64_t> page_cache_bytes() override { return std::uint64_t{0}; }

  std::map<std::string, Phase> phases;
  std::map<std::string, std::uint64_t> latency_counts;
  std::map<std::string, double> metrics;
  std::set<std::string> flags;
  std::set<LayerId> fixtures;
  const BaseImage* given_image = nullptr;
  std::uint64_t bytes_app_written = 0;
  std::uint64_t bytes_app_read = 0;

 protected:
  void record_latency(std::string_view name, std::uint64_t) override { ++latency_counts[std::string(name)]; }

 private:
  /// Distinguishes the cases of one process.
  unsigned serial() {
    static unsigned cases = 0;
    if (serial_ == 0) {
      serial_ = ++cases;
    }
    return serial_;
  }

  Status run(std::string_view name, const std::function<Status()>& body, bool timed) {
    Phase& phase = phases[std::string(name)];
    ++phase.count;
    phase.timed = timed;
    return body();
  }

  /// Requests may still complete after sync: waits until the counters stand still.
  Result<DeviceCounters> quiet_counters() {
    SBENCH_TRY_SET(DeviceCounters before, store_.device().counters());
    for (;;) {
      const timespec pause{0, 2'000'000};
      ::nanosleep(&pause, nullptr);
      SBENCH_TRY_SET(const DeviceCounters now, store_.device().counters());
      if (now.writes == before.writes && now.in_flight == 0) {
        return now;
      }
      before = now;
    }
  }

  FakeStore& store_;
  Params params_;
  unsigned serial_ = 0;
  unsigned ids_ = 0;
  DeviceCounters mark_;
};

}  // namespace sbench::testing
