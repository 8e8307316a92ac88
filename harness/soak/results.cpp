#include "harness/soak/results.h"

#include <sstream>

#include "drivers/base/file.h"

namespace sbench::soak {

using nlohmann::json;

namespace {

Status read_lines(const std::filesystem::path& path, RunFiles& run) {
  const auto text = read_text(path);
  if (!text.ok()) {
    return {};  // ended before it began
  }
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    const json record = json::parse(line, nullptr, false);
    if (record.is_discarded() || !record.contains("type") || !record.contains("value")) {
      return plain_error(EINVAL, "{} holds a line that is no record: {}", path.string(), line.substr(0, 80));
    }
    const json& value = record.at("value");
    if (record.at("type") == "header") {
      run.started = true;
    } else if (record.at("type") == "sample") {
      run.samples[value.at("name").get<std::string>()] = value;
    } else if (record.at("type") == "failure") {
      ++run.failures;
    }
  }
  return {};
}

Status read_result(const std::filesystem::path& path, RunFiles& run) {
  const auto text = read_text(path);
  if (!text.ok()) {
    return {};
  }
  const json document = json::parse(*text, nullptr, false);
  if (document.is_discarded()) {
    return plain_error(EINVAL, "{} is no JSON", path.string());
  }
  for (const char* part : {"context", "benchmarks", "sbench"}) {
    if (!document.contains(part)) {
      return plain_error(EINVAL, "{} has no {}", path.string(), part);
    }
  }
  run.complete = document.at("sbench").value("complete", false);
  for (const auto& sample : document.at("benchmarks")) {
    if (!run.samples.contains(sample.at("name").get<std::string>())) {
      return plain_error(EINVAL, "{} has a sample that run.jsonl has not: {}", path.string(), sample.at("name").dump());
    }
  }
  return {};
}

}  // namespace

Result<RunFiles> read_run(const std::filesystem::path& output) {
  RunFiles run;
  SBENCH_TRY(read_lines(output / "run.jsonl", run));
  SBENCH_TRY(read_result(output / "result.json", run));
  return run;
}

json exact_part(const json& sample) {
  const json& body = sample.at("sbench");
  json exact = {{"params", body.at("params")}, {"engine", body.at("engine")}, {"workload", body.at("workload")}};
  for (const char* metric : {"bytes_app_written", "bytes_app_read"}) {
    exact[metric] = body.at("metrics").at(metric);
  }
  for (const auto& [name, phase] : body.at("phases").items()) {
    exact["phases"][name] = {phase.at("count"), phase.at("timed")};
  }
  for (const auto& [name, histogram] : body.at("latency").items()) {
    exact["latency"][name] = histogram.at("count");
  }
  return exact;
}

}  // namespace sbench::soak
