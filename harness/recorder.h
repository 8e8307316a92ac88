// recorder.h: keeps a run's results safe while it goes on, and as one file when it ends.
//
// DIR/run.jsonl gets one line per sample, skip and failure as it happens, on the disk before the next begins (a last
// line that the power tore is ignored when read). DIR/result.json is assembled from the same
// lines and replaced atomically: after every driver's turn and at the end. The
// file is a superset of Google Benchmark's JSON (reports/result.schema.json).
#pragma once

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "drivers/base/result.h"
#include "harness/environment.h"
#include "harness/live_case.h"
#include "harness/plan.h"

namespace sbench {

class Recorder {
 public:
  /// Starts a new result in `directory` (made when missing). EEXIST when it holds a result already.
  [[nodiscard]] static Result<std::unique_ptr<Recorder>> create(const std::filesystem::path& directory,
                                                                nlohmann::json header);
  /// Takes an interrupted result up again. ENOENT or EINVAL with a sentence when there is none to take up.
  [[nodiscard]] static Result<std::unique_ptr<Recorder>> resume(const std::filesystem::path& directory);
  ~Recorder();

  /// The header given to create(): request, plan, environment.
  [[nodiscard]] const nlohmann::json& header() const { return header_; }
  [[nodiscard]] bool has_sample(const std::string& case_name, int block) const;
  [[nodiscard]] std::size_t samples() const { return done_.size(); }
  [[nodiscard]] std::size_t failures() const { return failures_.size(); }

  /// `entry` is a complete element of `benchmarks`.
  [[nodiscard]] Status add_sample(const nlohmann::json& entry);
  [[nodiscard]] Status add_failure(const nlohmann::json& failure);
  /// A case that cannot run here; the first word about a cell stays.
  [[nodiscard]] Status add_skip(nlohmann::json skip);
  /// Facts about a driver (semantic check, status), by slug; a later call replaces an earlier one.
  [[nodiscard]] Status add_driver(const std::string& slug, nlohmann::json facts);
  /// Writes result.json from everything so far.
  [[nodiscard]] Status assemble(int blocks_done, bool complete);

  [[nodiscard]] std::filesystem::path result_path() const { return directory_ / "result.json"; }

 private:
  explicit Recorder(std::filesystem::path directory) : directory_(std::move(directory)) {}
  [[nodiscard]] Status append(const char* type, const nlohmann::json& value);
  void take(const std::string& type, const nlohmann::json& value);

  std::filesystem::path directory_;
  Fd lines_;
  nlohmann::json header_;
  nlohmann::json benchmarks_ = nlohmann::json::array();
  nlohmann::json failures_ = nlohmann::json::array();
  std::map<std::string, nlohmann::json> skips_;  ///< by cell
  std::map<std::string, nlohmann::json> drivers_;
  std::set<std::pair<std::string, int>> done_;
};

/// One element of `benchmarks` for a sample.
[[nodiscard]] nlohmann::json sample_entry(const Sample& sample, const PlannedVariant& variant,
                                          const PlannedCase& planned, int block, int order, double shell_real_s);

}  // namespace sbench
