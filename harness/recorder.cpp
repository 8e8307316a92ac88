#include "harness/recorder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <limits>
#include <sstream>

#include "drivers/base/durable.h"
#include "drivers/base/file.h"
#include "images/whole_number.h"

namespace sbench {

using nlohmann::json;

namespace {

json histogram_json(const Histogram& histogram) {
  json counts = json::array();
  for (const auto& [bucket, count] : histogram.sparse()) {
    counts.push_back({bucket, count});
  }
  return {{"unit", "ns"},           {"kind", "service"},
          {"load", "closed"},       {"count", histogram.count()},
          {"min", histogram.min()}, {"max", histogram.max()},
          {"sum", histogram.sum()}, {"buckets", {{"sub_bits", Histogram::kSubBits}, {"counts", counts}}}};
}

json metrics_json(const Sample& sample) {
  json metrics = {
      {"bytes_app_written", sample.bytes_app_written},
      {"bytes_app_read", sample.bytes_app_read},
      {"cpu_user_s", sample.process.cpu_user_s},
      {"cpu_sys_s", sample.process.cpu_sys_s},
      {"cpu_helpers_s", sample.process.cpu_helpers_s},
      {"helpers_rss_peak_bytes", sample.helpers_rss_peak_bytes},
      {"major_faults", sample.process.major_faults},
      {"minor_faults", sample.process.minor_faults},
      {"ctx_switches", sample.process.ctx_switches},
      {"space_bytes", sample.space_bytes},
      {"inodes", sample.inodes},
      {"page_cache_bytes", sample.page_cache_bytes},
  };
  if (sample.device_counted) {
    metrics.update({
        {"bytes_dev_written", sample.device.bytes_written},
        {"bytes_dev_read", sample.device.bytes_read},
        {"dev_writes", sample.device.writes},
        {"dev_reads", sample.device.reads},
        {"dev_flushes", sample.device.flushes},
        {"bytes_dev_discarded", sample.device.bytes_discarded},
        {"dev_busy_s", static_cast<double>(sample.device.busy_ms) * 1e-3},
    });
  }
  for (const auto& [name, value] : sample.metrics) {
    metrics[name] = value;
  }
  return metrics;
}

}  // namespace

json sample_entry(const Sample& sample, const PlannedVariant& variant, const PlannedCase& planned, int block, int order,
                  double shell_real_s) {
  json params = json::object();
  for (const auto& [name, value] : planned.params.items()) {
    params[name] = value;
  }
  json phases = json::object();
  for (const auto& [name, phase] : sample.phases) {
    phases[name] = {{"seconds", phase.seconds}, {"count", phase.count}, {"timed", phase.timed}};
  }
  json latency = json::object();
  for (const auto& [name, histogram] : sample.latencies) {
    latency[name] = histogram_json(histogram);
  }
  const std::string name = planned.name(variant.variant);
  return {{"name", name},
          {"run_name", name},
          {"run_type", "iteration"},
          {"repetition_index", block},
          {"threads", 1},
          {"iterations", 1},
          {"real_time", shell_real_s * 1e3},
          {"cpu_time", (sample.process.cpu_user_s + sample.process.cpu_sys_s) * 1e3},
          {"time_unit", "ms"},
          {"label", fmt::format("{},{}", planned.workload->cache, planned.workload->durability)},
          {"sbench",
           {{"block", block},
            {"order", order},
            {"started", sample.started},
            {"workload", planned.workload->name},
            {"driver", variant.variant.slug},
            {"engine", to_string(variant.engine)},
            {"params", params},
            {"phases", phases},
            {"latency", latency},
            {"metrics", metrics_json(sample)},
            {"flags", sample.flags}}}};
}

Result<std::unique_ptr<Recorder>> Recorder::create(const std::filesystem::path& directory, json header) {
  SBENCH_TRY(make_durable_directories(directory));
  std::unique_ptr<Recorder> recorder(new Recorder(directory));
  const auto lines_path = directory / "run.jsonl";
  if (std::filesystem::exists(lines_path) || std::filesystem::exists(recorder->result_path())) {
    return plain_error(EEXIST, "{} already holds a result; name another --output, or take it up with --resume {}",
                       directory.string(), directory.string());
  }
  SBENCH_TRY_SET(recorder->lines_, open_file(lines_path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND));
  SBENCH_TRY(recorder->append("header", header));
  SBENCH_TRY(sync_directory(directory));
  recorder->header_ = std::move(header);
  return recorder;
}

Result<std::unique_ptr<Recorder>> Recorder::resume(const std::filesystem::path& directory) {
  std::unique_ptr<Recorder> recorder(new Recorder(directory));
  const auto lines_path = directory / "run.jsonl";
  auto text = read_text(lines_path);
  if (!text.ok()) {
    return plain_error(ENOENT, "{} holds no interrupted run (no readable run.jsonl); start one with --output",
                       directory.string());
  }
  std::istringstream lines(*text);
  std::string line;
  off_t good_bytes = 0;
  while (std::getline(lines, line) && !lines.eof()) {
    try {
      const json record = json::parse(line);
      recorder->take(record.at("type").get<std::string>(), record.at("value"));
    } catch (const json::exception&) {
      if (lines.peek() == std::istringstream::traits_type::eof()) {
        break;  // the last line, which a power loss may have torn anywhere: each before it was synced
      }
      return plain_error(EINVAL, "{} is damaged after {} bytes; start a new run with another --output",
                         lines_path.string(), good_bytes);
    }
    good_bytes += static_cast<off_t>(line.size() + 1);
  }
  if (recorder->header_.is_null()) {
    return plain_error(EINVAL, "{} has no header; start a new run with another --output", lines_path.string());
  }
  SBENCH_TRY_SET(recorder->lines_, open_file(lines_path, O_WRONLY | O_APPEND));
  if (::ftruncate(recorder->lines_.get(), good_bytes) != 0) {  // drops a torn last line
    return errno_error("cannot truncate {}", lines_path.string());
  }
  return recorder;
}

Recorder::~Recorder() = default;

void Recorder::take(const std::string& type, const json& value) {
  if (type == "header") {
    header_ = value;
  } else if (type == "sample") {
    const auto block = whole_number(value.at("sbench").at("block"), "a block", std::numeric_limits<int>::max());
    done_.emplace(value.at("name").get<std::string>(), static_cast<int>(block));
    benchmarks_.push_back(value);
  } else if (type == "failure") {
    failures_.push_back(value);
  } else if (type == "skip") {
    skips_.emplace(value.at("cell").get<std::string>(), value);
  } else if (type == "driver") {
    drivers_[value.at("slug").get<std::string>()] = value;
  }
}

bool Recorder::has_sample(const std::string& case_name, int block) const { return done_.contains({case_name, block}); }

Status Recorder::append(const char* type, const json& value) {
  const std::string line = json{{"type", type}, {"value", value}}.dump() + "\n";
  const std::string path = (directory_ / "run.jsonl").string();
  SBENCH_TRY(write_all(lines_.get(), line, path));
  return ::fdatasync(lines_.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", path));
}

Status Recorder::add_sample(const json& entry) {
  SBENCH_TRY(append("sample", entry));
  take("sample", entry);
  return {};
}

Status Recorder::add_failure(const json& failure) {
  SBENCH_TRY(append("failure", failure));
  take("failure", failure);
  return {};
}

Status Recorder::add_skip(json skip) {
  if (skips_.contains(skip.at("cell").get<std::string>())) {
    return {};
  }
  SBENCH_TRY(append("skip", skip));
  take("skip", skip);
  return {};
}

Status Recorder::add_driver(const std::string& slug, json facts) {
  facts["slug"] = slug;
  SBENCH_TRY(append("driver", facts));
  take("driver", facts);
  return {};
}

Status Recorder::assemble(int blocks_done, bool complete) {
  json document;
  document["context"] = header_.at("context");
  json body = header_.at("sbench");
  body["blocks_done"] = blocks_done;
  body["complete"] = complete;
  body["environment"]["during"] = disturbance_since(body["environment"].value("state", json::object()));
  body["failures"] = failures_;
  for (const auto& [cell, skip] : skips_) {
    body["skips"].push_back(skip);
  }
  for (auto& driver : body["drivers"]) {
    const auto facts = drivers_.find(driver.at("slug").get<std::string>());
    if (facts != drivers_.end()) {
      driver.update(facts->second);
    }
  }
  std::map<std::string, int> families;
  std::map<std::string, int> repetitions;
  for (const auto& entry : benchmarks_) {
    ++repetitions[entry.at("name").get<std::string>()];
  }
  json benchmarks = benchmarks_;
  body["series"] = json::array();
  const json& identity = body.at("environment").at("identity");
  for (auto& entry : benchmarks) {
    const std::string name = entry.at("name").get<std::string>();
    const auto [family, first] = families.emplace(name, static_cast<int>(families.size()));
    entry["family_index"] = family->second;
    entry["per_family_instance_index"] = 0;
    entry["repetitions"] = repetitions.at(name);
    if (first) {
      body["series"].push_back(
          {{"key", series_key(identity, name)}, {"name", name}, {"machine", identity.at("machine")}});
    }
  }
  document["benchmarks"] = std::move(benchmarks);
  document["sbench"] = std::move(body);
  return write_text_atomic(result_path(), document.dump(1) + "\n");
}

}  // namespace sbench
