#include "tests/crash/cut_run.h"

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "harness/variant.h"
#include "tests/crash/containers.h"
#include "tests/crash/dm_log.h"
#include "tests/crash/recorded_device.h"

namespace sbench::crash {

namespace {

namespace fs = std::filesystem;

constexpr const char* kOpened = "opened";

/// File systems take a sector of 4 KiB for granted; cow_fs promises to bear less.
std::uint32_t atom_for(const Variant& driver) { return driver.spec->name == "zfs" ? 512 : 4096; }

/// Formats the device, opens the store, and lets containers work on it. `Logged`: a device that is logged.
template <typename Logged>
Status record_on(Logged& logged, const CutRunOptions& options, const fs::path& folder) {
  const Variant driver = parse_variant(options.driver);
  SBENCH_TRY(make_directories(folder / "root"));
  SBENCH_TRY_SET(const ContainerImage image, make_container_image());
  SBENCH_TRY(driver.spec->format(logged.device(), driver.options));
  SBENCH_TRY_SET(auto open, driver.spec->open(logged.device(), driver.options, folder / "root"));
  SBENCH_TRY(open->sync());
  SBENCH_TRY(logged.mark(kOpened));
  SBENCH_TRY(run_containers(*open, image, logged, options.seed, options.steps));
  open.reset();
  return logged.finish();
}

Result<WriteLog> record(const CutRunOptions& options, const fs::path& folder) {
  SBENCH_TRY_SET(const auto recorded, RecordedDevice::make(folder, device_bytes(options)));
  SBENCH_TRY(record_on(*recorded, options, folder));
  return WriteLog::read(folder / "log");
}

CutRunReport describe(const WriteLog& log) {
  CutRunReport report;
  report.records = log.records().size();
  for (const auto& record : log.records()) {
    report.flushes += record.kind == RecordKind::flush ? 1 : 0;
    report.marks += record.kind == RecordKind::mark ? 1 : 0;
    report.bytes_written += record.kind == RecordKind::mark ? 0 : record.data.size();
  }
  return report;
}

}  // namespace

std::uint64_t device_bytes(const CutRunOptions& options) {
  const Variant driver = parse_variant(options.driver);
  const auto is = [&](const char* option, const char* value) {
    const auto found = driver.options.find(option);
    return found != driver.options.end() && found->second == value;
  };
  if (is("dm.fs", "xfs")) {
    return kGiB;  // two file systems, neither of which is made smaller than 300 MiB
  }
  const bool large = driver.spec->name == "btrfs" || driver.spec->name == "devicemapper" || is("backing", "xfs") ||
                     is("backing", "btrfs");
  return large ? 512 * kMiB : 160 * kMiB;
}

Status record_by_kernel(const CutRunOptions& options, const fs::path& folder, const fs::path& data,
                        const fs::path& log) {
  SBENCH_TRY_SET(const auto logged, KernelLoggedDevice::make(data, log));
  return record_on(*logged, options, folder);
}

Result<CutRunReport> run_and_cut(const CutRunOptions& options, const fs::path& folder) {
  const Variant driver = parse_variant(options.driver);
  SBENCH_TRY(make_directories(folder / "root"));
  SBENCH_TRY_SET(const ContainerImage image, make_container_image());
  SBENCH_TRY_SET(WriteLog log, options.kernel_log.empty() ? record(options, folder) : read_dm_log(options.kernel_log));
  CutRunReport report = describe(log);
  const std::size_t opened = log.find_mark(kOpened);
  if (options.flushes_lie) {
    log.forget_flushes(opened);
  }
  std::vector<Cut> cuts = choose_cuts(log, opened, options.random_points, options.seed);
  cuts = options.cuts_max > 0 ? thin_out(cuts, options.cuts_max) : cuts;
  if (!options.only_cut.empty()) {
    SBENCH_TRY_SET(const Cut only, parse_cut(options.only_cut));
    cuts = {only};
  }
  SBENCH_TRY_SET(Replay replay, Replay::begin(log, folder, device_bytes(options), atom_for(driver)));
  const Checked checked{*driver.spec, driver.options, folder / "root", image, driver.spec->name != "zfs"};
  for (const Cut& cut : cuts) {
    SBENCH_TRY(replay.make(cut, folder / "cut"));
    const auto findings = check_after_power_loss(checked, folder / "cut", Expectation::after(log, cut.at));
    ++report.cuts;
    for (const auto& finding : findings) {
      report.violations.push_back(fmt::format("{} seed {} steps {} cut {}: {}", options.driver, options.seed,
                                              options.steps, cut.text(), finding));
    }
    if (options.tell) {
      options.tell(fmt::format("{}/{} cut {}: {}", report.cuts, cuts.size(), cut.text(),
                               findings.empty() ? "whole" : findings.front()));
    }
  }
  return report;
}

}  // namespace sbench::crash
