// cut_run.h: a driver's run of containers, logged, cut and checked: what tests and `tests/crash/cuts` do.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "tests/crash/checker.h"
#include "tests/crash/replay.h"

namespace sbench::crash {

struct CutRunOptions {
  std::string driver;  ///< "zfs:engine=userspace"
  std::uint64_t seed = 20260101;
  int steps = 12;            ///< run_containers()
  std::size_t cuts_max = 0;  ///< 0: every cut chosen
  std::size_t random_points = 4;
  bool flushes_lie = false;          ///< the device forgets flushes once the store is open: violations must be found
  std::string only_cut;              ///< Cut::text(): this one alone
  std::filesystem::path kernel_log;  ///< of record_by_kernel() with the same driver, seed and steps: nothing is run
  std::function<void(const std::string&)> tell;  ///< progress, a line a call
};

struct CutRunReport {
  std::size_t records = 0;
  std::size_t flushes = 0;
  std::size_t marks = 0;
  std::uint64_t bytes_written = 0;
  std::size_t cuts = 0;
  std::vector<std::string> violations;  ///< each names its cut
};

/// Of the device that is logged.
[[nodiscard]] std::uint64_t device_bytes(const CutRunOptions& options);

/// The run alone, its writes logged by dm-log-writes: `data` and `log` are block devices, overwritten.
[[nodiscard]] Status record_by_kernel(const CutRunOptions& options, const std::filesystem::path& folder,
                                      const std::filesystem::path& data, const std::filesystem::path& log);

/// `folder`: empty, for images and mounts. An Error is one of the run itself.
[[nodiscard]] Result<CutRunReport> run_and_cut(const CutRunOptions& options, const std::filesystem::path& folder);

}  // namespace sbench::crash
