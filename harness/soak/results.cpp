#include "harness/soak/results.h"

#include <cmath>
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
    const auto logged = run.samples.find(sample.at("name").get<std::string>());
    if (logged == run.samples.end()) {
      return plain_error(EINVAL, "{} has a sample that run.jsonl has not: {}", path.string(), sample.at("name").dump());
    }
    for (const auto& [key, value] : logged->second.items()) {  // it adds some of the whole series
      if (!sample.contains(key) || sample.at(key) != value) {
        return plain_error(EINVAL, "{} and run.jsonl differ in {} of {}", path.string(), key, logged->first);
      }
    }
  }
  return {};
}

/// "": the counts and sums of a histogram agree.
std::string contradiction_in(const std::string& name, const json& histogram) {
  std::uint64_t counted = 0;
  for (const auto& bucket : histogram.at("buckets").at("counts")) {
    counted += bucket.at(1).get<std::uint64_t>();
  }
  const auto count = histogram.at("count").get<std::uint64_t>();
  const auto min = histogram.at("min").get<double>();
  const auto max = histogram.at("max").get<double>();
  const auto sum = histogram.at("sum").get<double>();
  const auto n = static_cast<double>(count);
  if (counted != count || (count > 0 && (min > max || sum < min * n || sum > max * n))) {
    return fmt::format("the histogram {} holds {} of {} operations, {} to {}, sum {}", name, counted, count, min, max, sum);
  }
  return "";
}

}  // namespace

Result<RunFiles> read_run(const std::filesystem::path& output) {
  RunFiles run;
  SBENCH_TRY(read_lines(output / "run.jsonl", run));
  SBENCH_TRY(read_result(output / "result.json", run));
  return run;
}

std::string contradiction_in(const json& sample) {
  constexpr double kRounding_s = 1e-6;
  const json& body = sample.at("sbench");
  const double real_s = sample.at("real_time").get<double>() * 1e-3;
  double timed_s = 0;
  for (const auto& [name, phase] : body.at("phases").items()) {
    const double seconds = phase.at("seconds").get<double>();
    if (!(seconds >= 0)) {
      return fmt::format("the phase {} took {} s", name, phase.at("seconds").dump());
    }
    timed_s += phase.at("timed").get<bool>() ? seconds : 0;
  }
  if (std::abs(real_s - timed_s) > kRounding_s + 1e-6 * real_s) {
    return fmt::format("its time is {} s, its timed phases together took {} s", real_s, timed_s);
  }
  for (const auto& [name, value] : body.at("metrics").items()) {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || (name.ends_with("_s") && value.get<double>() < 0)) {
      return fmt::format("{} is {}", name, value.dump());
    }
  }
  for (const auto& [name, histogram] : body.at("latency").items()) {
    if (auto found = contradiction_in(name, histogram); !found.empty()) {
      return found;
    }
  }
  return "";
}

json exact_part(const json& sample) {
  const json& body = sample.at("sbench");
  json exact = {{"label", sample.at("label")},   {"iterations", sample.at("iterations")}, {"params", body.at("params")},
                {"driver", body.at("driver")},   {"engine", body.at("engine")},           {"workload", body.at("workload")}};
  // What a workload counts of its own content; others are the device's or the machine's.
  for (const char* metric : {"image_files", "changed_files", "diff_tar_bytes", "depth_reached_layers", "exdev"}) {
    if (body.at("metrics").contains(metric)) {
      exact[metric] = body.at("metrics").at(metric);
    }
  }
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
