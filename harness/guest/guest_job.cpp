#include "harness/guest/guest_job.h"

#include <nlohmann/json.hpp>

#include "drivers/base/file.h"

namespace sbench {
namespace {

using nlohmann::json;

std::vector<std::string> texts(const std::vector<std::filesystem::path>& paths) { return {paths.begin(), paths.end()}; }

std::vector<std::filesystem::path> paths(const json& list) {
  std::vector<std::filesystem::path> all;
  for (const auto& each : list) {
    all.emplace_back(each.get<std::string>());
  }
  return all;
}

}  // namespace

Status write_job(const std::filesystem::path& exchange, const GuestJob& job) {
  const json text = {{"argv", job.argv},
                     {"environment", job.environment},
                     {"working_directory", job.working_directory.string()},
                     {"modules", texts(job.modules)},
                     {"visible", texts(job.visible)},
                     {"writable", texts(job.writable)}};
  return write_text_atomic(exchange / "job.json", text.dump() + "\n");
}

Result<GuestJob> read_job(const std::filesystem::path& exchange) {
  SBENCH_TRY_SET(const std::string text, read_text(exchange / "job.json"));
  GuestJob job;
  try {
    const json parsed = json::parse(text);
    parsed.at("argv").get_to(job.argv);
    parsed.at("environment").get_to(job.environment);
    job.working_directory = parsed.at("working_directory").get<std::string>();
    job.modules = paths(parsed.at("modules"));
    job.visible = paths(parsed.at("visible"));
    job.writable = paths(parsed.at("writable"));
  } catch (const json::exception& error) {
    return plain_error(EPROTO, "{}: {}", (exchange / "job.json").string(), error.what());
  }
  return job;
}

}  // namespace sbench
