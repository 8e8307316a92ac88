#include <fmt/ranges.h>
#include <unistd.h>

#include <limits>

#include "drivers/base/hash.h"
#include "drivers/base/user_namespace.h"
#include "harness/environment.h"
#include "harness/runner.h"
#include "images/whole_number.h"
#include "workloads/content/base_image.h"

namespace sbench {

using nlohmann::json;

namespace {

json metric_definition(const char* unit, const char* better, const char* noise, bool gate) {
  return {{"unit", unit}, {"better", better}, {"noise", noise}, {"gate", gate}};
}

json metric_definitions() {
  json definitions = {
      {"real_time", metric_definition("ms", "lower", "sampled", true)},
      {"bytes_dev_written", metric_definition("B", "lower", "exactish", true)},
      {"bytes_dev_read", metric_definition("B", "lower", "exactish", true)},
      {"dev_flushes", metric_definition("1", "lower", "exactish", false)},
      {"cpu_user_s", metric_definition("s", "lower", "sampled", false)},
      {"cpu_sys_s", metric_definition("s", "lower", "sampled", false)},
      {"cpu_helpers_s", metric_definition("s", "lower", "sampled", false)},
      {"helpers_rss_peak_bytes", metric_definition("B", "lower", "sampled", false)},
      {"dev_busy_s", metric_definition("s", "lower", "sampled", false)},
      {"space_bytes", metric_definition("B", "lower", "exactish", true)},
      {"inodes", metric_definition("1", "lower", "exactish", true)},
      {"page_cache_bytes", metric_definition("B", "lower", "sampled", false)},
  };
  definitions["write_amp"] = metric_definition("1", "lower", "exactish", true);
  definitions["write_amp"]["expr"] = "bytes_dev_written/bytes_app_written";
  definitions["read_amp"] = metric_definition("1", "lower", "exactish", false);
  definitions["read_amp"]["expr"] = "bytes_dev_read/bytes_app_read";
  return definitions;
}

json workloads_json(const Plan& plan, std::string& suite) {
  json workloads = json::object();
  for (const auto& variant : plan.variants) {
    for (const auto& planned : variant.cases) {
      const WorkloadSpec& spec = *planned.workload;
      json params = json::object();
      for (const auto& param : spec.params) {
        params[param.name] = param.summary;
      }
      workloads[spec.name] = {{"version", spec.version}, {"summary", spec.summary},       {"cache", spec.cache},
                              {"params", params},        {"durability", spec.durability}, {"load", "closed"}};
    }
  }
  suite = workloads.dump();
  return workloads;
}

/// What a run on a folder, in a user namespace, does not tell or do, a sentence each.
json folder_limits() {
  json limits = {
      "bytes, requests and flushes of the device are not measured for drivers that keep directories: others write to the "
      "same disk. zfs:engine=userspace counts its own, to and from an image file in the folder",
      "space is what the store's files and directories have allocated, not what a file system of their own would use",
      "the page cache cannot be emptied without root: cold cases are skipped, except with zfs:engine=userspace, which has "
      "no cache but its own and its mount's",
      "device nodes cannot be made in a user namespace: the semantic check leaves them out",
  };
  if (!may_give_files_away()) {
    limits.push_back(
        "no subordinate ids are mapped (/etc/subuid, newuidmap): all files of generated images belong to root, the semantic "
        "check changes no owner, and what would is skipped");
  }
  return limits;
}

json capabilities_json(const Capabilities& capabilities) {
  return {{"stores_layers", capabilities.stores_layers},         {"native_diff", capabilities.native_diff},
          {"copies_whole_file", capabilities.copies_whole_file}, {"copies_at_prepare", capabilities.copies_at_prepare},
          {"shares_page_cache", capabilities.shares_page_cache}, {"depth_layers_max", capabilities.depth_layers_max}};
}

json drivers_json(const Plan& plan) {
  json drivers = json::array();
  for (const auto& planned : plan.variants) {
    const Variant& variant = planned.variant;
    drivers.push_back({{"slug", variant.slug},
                       {"name", variant.spec->name},
                       {"label", variant.label},
                       {"summary", variant.spec->summary},
                       {"engines_differ", variant.spec->engines_differ},
                       {"options", variant.options},
                       {"engine", to_string(planned.engine)},
                       {"capabilities", capabilities_json(variant.spec->capabilities)},
                       {"semantic_check", "not-run"},
                       {"differences", json::array()},
                       {"deviations", json::array()},
                       {"status", json::array()}});
  }
  return drivers;
}

json skips_json(const Plan& plan) {
  json skips = json::array();
  for (const auto& skip : plan.skips) {
    skips.push_back({{"driver", skip.variant.slug},
                     {"code", "unavailable"},
                     {"detail", skip.reason},
                     {"remedy", skip.remedy}});
  }
  return skips;
}

}  // namespace

json request_json(const RunRequest& request) {
  return {{"drivers", request.drivers},     {"all", request.all},
          {"workloads", request.workloads}, {"filter", request.filter},
          {"profile", request.profile},     {"storage_opts", request.storage_opts},
          {"device", request.device},       {"image_dir", request.image_dir},
          {"image_size", request.image_size}, {"blocks", request.blocks},
          {"budget_s", request.budget_s},   {"seed", request.seed},
          {"dockerfiles", request.dockerfiles},
          {"run_steps", request.run_steps}, {"run_limit_s", request.run_limit_s},
          {"recordings", request.recordings},
          {"image", request.image},         {"platform", request.platform},
          {"kind", request.kind},           {"in", request.in},
          {"rootless", request.rootless},   {"inject", request.inject}};
}

RunRequest request_from_json(const json& value) {
  RunRequest request;
  value.at("drivers").get_to(request.drivers);
  value.at("all").get_to(request.all);
  value.at("workloads").get_to(request.workloads);
  value.at("filter").get_to(request.filter);
  value.at("profile").get_to(request.profile);
  value.at("storage_opts").get_to(request.storage_opts);
  value.at("device").get_to(request.device);
  value.at("image_dir").get_to(request.image_dir);
  value.at("image_size").get_to(request.image_size);
  request.blocks = static_cast<int>(whole_number(value.at("blocks"), "blocks", std::numeric_limits<int>::max()));
  request.budget_s = whole_number(value.at("budget_s"), "budget_s");
  request.seed = whole_number(value.at("seed"), "seed");
  value.at("kind").get_to(request.kind);
  request.in = value.value("in", "host");
  request.image = value.value("image", "");
  request.platform = value.value("platform", "");
  request.dockerfiles = value.value("dockerfiles", std::vector<std::string>());
  request.run_steps = value.value("run_steps", "replay");
  request.run_limit_s = whole_number(value.value("run_limit_s", json(600)), "run_limit_s");
  request.recordings = value.value("recordings", "");
  request.rootless = value.value("rootless", false);
  request.inject = value.value("inject", "");  // results of before have none
  return request;
}

json run_header(const RunRequest& request, const Plan& plan, const Device& device, const std::string& command) {
  const Environment environment = read_environment(device);
  const std::string started = utc_now();
  std::string suite;
  json body = {
      {"schema", "sbench.result"},
      {"schema_version", "1.0"},
      {"run_id", sha256_hex(fmt::format("{} {} {}", started, ::getpid(), plan.seed)).substr(0, 26)},
      {"kind", request.kind},
      {"profile", request.profile},
      {"seed", plan.seed},
      {"order", "blocked-shuffle"},
      {"started", started},
      {"command", command},
      {"request", request_json(request)},
      {"blocks_planned", plan.blocks},
      {"control", {{"driver", plan.control}, {"paired", true}}},
      {"device",
       {{"kind", device_kind(device)},
        {"path", device.path()},
        {"size_bytes", device.size_bytes()},
        {"direct_io", device.direct_io()}}},
      {"metric_defs", metric_definitions()},
      {"workloads", workloads_json(plan, suite)},
      {"drivers", drivers_json(plan)},
      {"skips", skips_json(plan)},
      {"environment",
       {{"identity", environment.identity}, {"version", environment.version}, {"state", environment.state}}},
  };
  if (device.kind() == Device::Kind::folder) {
    body["device"]["file_system"] = environment.identity.at("device").value("file_system", "unknown");
    body["device"]["limits"] = folder_limits();
  }
  if (!request.inject.empty()) {
    body["injected"] = request.inject;
  }
  if (plan.image) {
    body["image"] = {{"source", plan.image->source},
                     {"kind", plan.image->kind},
                     {"name", plan.image->slug},
                     {"platform", plan.image->platform},
                     {"digest", plan.image->digest},
                     {"layers", plan.image->layers.size()}};
  }
  body["suite"] = {{"name", "default"}, {"version", 1}, {"hash", "sha256:" + sha256_hex(suite)}};
  return {{"context", benchmark_context()}, {"request", request_json(request)}, {"sbench", std::move(body)}};
}

}  // namespace sbench
