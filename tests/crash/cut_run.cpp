#include "tests/crash/cut_run.h"

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "harness/variant.h"
#include "tests/crash/containers.h"
#include "tests/crash/recorded_device.h"

namespace sbench::crash {

namespace {

namespace fs = std::filesystem;

constexpr const char* kOpened = "opened";

/// xfs and btrfs are made no smaller.
std::uint64_t size_for(const Variant& driver) {
  const auto backing = driver.options.find("backing");
  const bool large = driver.spec->name == "btrfs" || driver.spec->name == "devicemapper" ||
                     (backing != driver.options.end() && backing->second != "ext4");
  return large ? 512 * kMiB : 160 * kMiB;
}

/// File systems take a sector of 4 KiB for granted; cow_fs promises to bear less.
std::uint32_t atom_for(const Variant& driver) { return driver.spec->name == "zfs" ? 512 : 4096; }

Status record(const Variant& driver, const CutRunOptions& options, const ContainerImage& image, const fs::path& folder,
              std::uint64_t size_bytes) {
  SBENCH_TRY_SET(auto recorded, RecordedDevice::make(folder, size_bytes));
  SBENCH_TRY(driver.spec->format(recorded->device(), driver.options));
  SBENCH_TRY_SET(auto open, driver.spec->open(recorded->device(), driver.options, folder / "root"));
  SBENCH_TRY(open->sync());
  SBENCH_TRY(recorded->mark(kOpened));
  SBENCH_TRY(run_containers(*open, image, *recorded, options.seed, options.steps));
  open.reset();
  return recorded->finish();
}

CutRunReport describe(const WriteLog& log) {
  CutRunReport report;
  report.records = log.records().size();
  for (const auto& record : log.records()) {
    report.flushes += record.kind == RecordKind::flush ? 1 : 0;
    report.marks += record.kind == RecordKind::mark ? 1 : 0;
    report.bytes_written += record.kind == RecordKind::write ? record.length : 0;
  }
  return report;
}

}  // namespace

Result<CutRunReport> run_and_cut(const CutRunOptions& options, const fs::path& folder) {
  const Variant driver = parse_variant(options.driver);
  const std::uint64_t size_bytes = options.size_bytes > 0 ? options.size_bytes : size_for(driver);
  SBENCH_TRY(make_directories(folder / "root"));
  SBENCH_TRY_SET(const ContainerImage image, make_container_image());
  SBENCH_TRY(record(driver, options, image, folder, size_bytes));
  SBENCH_TRY_SET(WriteLog log, WriteLog::read(folder / "log"));
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
  SBENCH_TRY_SET(Replay replay, Replay::begin(log, folder, size_bytes, atom_for(driver)));
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
