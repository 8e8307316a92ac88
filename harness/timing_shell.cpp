#include "harness/timing_shell.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace sbench {
namespace {

/// Keeps what Google Benchmark reports instead of printing it.
class CapturingReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const auto& run : runs) {
      if (run.run_type == Run::RT_Iteration) {
        timing_.real_s = run.real_accumulated_time;
        timing_.iterations = run.iterations;
      }
    }
  }
  [[nodiscard]] const ShellTiming& timing() const { return timing_; }

 private:
  ShellTiming timing_;
};

}  // namespace

Result<ShellTiming> time_once(const std::string& name, const std::function<Status(double&)>& body) {
  Status status;
  benchmark::RegisterBenchmark(name.c_str(), [&](benchmark::State& state) {
    for (auto _ : state) {
      double real_s = 0;
      status = body(real_s);
      state.SetIterationTime(real_s);
      if (!status.ok()) {
        state.SkipWithError(status.error().what.c_str());
        break;
      }
    }
  })->Iterations(1)->UseManualTime();
  CapturingReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter, ".");
  benchmark::ClearRegisteredBenchmarks();
  if (!status.ok()) {
    return status.error();
  }
  if (reporter.timing().iterations != 1) {
    return plain_error(EPROTO, "Google Benchmark ran {} iterations of {} instead of 1", reporter.timing().iterations,
                       name);
  }
  return reporter.timing();
}

}  // namespace sbench
