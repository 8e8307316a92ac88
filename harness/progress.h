// progress.h: how far a run is, on stderr.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "harness/console.h"

namespace sbench {

/// tty: one line rewritten in place; plain: a line a sample; json: a JSON line a sample; none.
enum class ProgressStyle { tty, plain, json, none };

/// Throws UsageError for an unknown name. "auto" is tty on a terminal, else plain.
[[nodiscard]] ProgressStyle parse_progress(const std::string& name, bool err_is_terminal);

class Progress {
 public:
  Progress(Console& console, ProgressStyle style, std::size_t samples_total, int blocks)
      : console_(console), style_(style), total_(samples_total), blocks_(blocks) {}

  enum class Outcome { measured, failed, skipped };
  /// A sample took `wall_s`, set-up included. The ETA comes from what each case cost before.
  void sample_done(int block, const std::string& name, double value_s, double wall_s, Outcome outcome);
  /// A sample that an earlier, interrupted run has already taken.
  void sample_kept() { ++done_; }
  /// A line of its own, whatever the style ("formatting overlay2", a skip, a warning).
  void message(const std::string& text);
  /// Ends the rewritten line.
  void finish();

 private:
  [[nodiscard]] double eta_s() const;

  Console& console_;
  ProgressStyle style_;
  std::size_t total_;
  int blocks_;
  std::size_t done_ = 0;
  double spent_s_ = 0;
  std::size_t measured_ = 0;
  std::map<std::string, double> cost_s_;  ///< last wall time of each case
  std::map<std::string, int> seen_;
  bool line_open_ = false;
};

}  // namespace sbench
