#include "harness/plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <regex>
#include <set>

#include "drivers/base/hash.h"
#include "drivers/base/usage_error.h"
#include "drivers/base/user_namespace.h"
#include "harness/expression.h"
#include "harness/guest/guest_init.h"
#include "harness/reports.h"
#include "workloads/content/base_image.h"
#include "workloads/dockerfile/applications.h"

namespace sbench {
namespace {

constexpr const char* kControl = "native";
constexpr const char* kOverhead = "null";
constexpr std::array<const char*, kProfiles> kProfileNames = {"smoke", "quick", "standard", "full"};
constexpr std::array<int, kProfiles> kProfileBlocks = {1, 4, 9, 15};  // METHOD.md b.3; quick: as many as compare needs

std::vector<const WorkloadSpec*> select_workloads(const std::vector<std::string>& wanted) {
  std::vector<const WorkloadSpec*> selected;
  std::set<std::string> matched;
  for (const auto& spec : workload_registry()) {
    bool take = wanted.empty();
    for (const auto& name : wanted) {
      if (spec.name == name || spec.name.starts_with(name + ".")) {
        take = true;
        matched.insert(name);
      }
    }
    if (take) {
      selected.push_back(&spec);
    }
  }
  for (const auto& name : wanted) {
    if (!matched.contains(name)) {
      std::vector<std::string> known;
      for (const auto& spec : workload_registry()) {
        known.push_back(spec.name);
      }
      throw UsageError("unknown workload '{}'; known workloads: {}", name, fmt::join(known, ", "));
    }
  }
  return selected;
}

struct SelectedVariant {
  Variant variant;
  bool requested = true;
};

/// An ordinary user has no device to make a file system on.
Options preferred_options(bool rootless) { return rootless ? Options{{"backing", "folder"}} : Options(); }

std::vector<SelectedVariant> select_variants(const RunRequest& request) {
  check_storage_opts(request.storage_opts);
  std::vector<std::string> labels = request.drivers;
  if (request.all || labels.empty()) {
    for (const auto& spec : driver_registry()) {
      labels.push_back(spec.name);
    }
  }
  const Options preferred = preferred_options(request.rootless);
  std::vector<SelectedVariant> variants;
  std::set<std::string> seen;
  for (const auto& label : labels) {
    Variant variant = parse_variant(label, request.storage_opts, preferred);
    if (seen.insert(variant.slug).second) {
      variants.push_back({std::move(variant), true});
    }
  }
  for (const char* companion : {kControl, kOverhead}) {
    Variant variant = parse_variant(companion, request.storage_opts, preferred);
    if (seen.insert(variant.slug).second) {
      variants.insert(variants.begin(), {std::move(variant), false});
    }
  }
  return variants;
}

/// profile:NAME is a profile that sbench ships, where no file is called so.
std::string profile_source(const std::string& source) {
  constexpr std::string_view kProfile = "profile:";
  const std::string name = source.starts_with(kProfile) ? source.substr(kProfile.size()) : std::string();
  const auto shipped = shipped_folder() / "images/profiles" / (name + ".json");
  std::error_code error;
  return !name.empty() && !std::filesystem::exists(name, error) && std::filesystem::exists(shipped, error)
             ? std::string(kProfile) + shipped.string()
             : source;
}

std::shared_ptr<const BaseImage> load_image_of(const RunRequest& request) {
  if (request.image.empty()) {
    if (!request.platform.empty()) {
      throw UsageError("--platform says which part of an --image is meant; name one");
    }
    return nullptr;
  }
  auto image = load_base_image(profile_source(request.image), request.platform, request.seed);
  if (!image.ok()) {
    throw UsageError("--image {}", image.error().what);
  }
  return std::move(image).value();
}

constexpr const char* kDockerfiles = "cache_reuse.dockerfiles";

/// Reads what will be built; returns a word that tells the user's Dockerfiles from all others, or nothing.
std::string take_dockerfiles(const RunRequest& request) {
  const auto shipped = shipped_folder() / "examples/two-apps";
  std::vector<std::filesystem::path> files(request.dockerfiles.begin(), request.dockerfiles.end());
  if (files.empty()) {
    files = {shipped / "web.Dockerfile", shipped / "worker.Dockerfile"};
  }
  std::string texts;
  auto applications = read_applications(files);
  for (const auto& application : applications) {
    for (const auto& stage : application.file.stages) {
      texts += "FROM " + stage.base + "\n";
      for (const auto& instruction : stage.instructions) {
        texts += instruction.text + "\n";
      }
    }
  }
  set_applications(std::move(applications));
  const bool exec = request.run_steps == "exec";
  if (exec && (request.image.empty() || request.image.starts_with("profile:"))) {
    throw UsageError("--run-steps=exec needs an --image with programs in it (an archive, host:PATH, tar:FILE): "
                     "generated layers have no shell");
  }
  set_run_steps({exec, request.run_limit_s, request.recordings});
  return request.dockerfiles.empty() ? std::string() : sha256_hex(texts).substr(0, 8);
}

/// The case says in its name which image it stands on: such times do not compare with others.
Params with_image(const Params& params, const BaseImage& image) {
  Params named;
  bool uses_image = false;
  for (const auto& [name, value] : params.items()) {
    uses_image = uses_image || name == "image";
    named.set(name, name == "image" ? image.slug + "-" + value : value);
  }
  if (!uses_image) {
    named.set("base", image.slug);
  }
  return named;
}

}  // namespace

std::string PlannedCase::name(const Variant& variant) const {
  std::string text = workload->name + "/" + variant.slug;
  for (const auto& [name, value] : params.items()) {
    text += "/" + name + ":";
    for (const char c : value) {
      text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return text;
}

std::size_t Plan::samples() const {
  std::size_t cases = 0;
  for (const auto& variant : variants) {
    cases += variant.cases.size();
  }
  return cases * static_cast<std::size_t>(blocks);
}

Profile parse_profile(const std::string& name) {
  const auto at = std::find(kProfileNames.begin(), kProfileNames.end(), name);
  if (at == kProfileNames.end()) {
    throw UsageError("unknown profile '{}'; known profiles: {}", name, fmt::join(kProfileNames, ", "));
  }
  return static_cast<Profile>(at - kProfileNames.begin());
}

bool Plan::worth_running() const {
  return std::any_of(variants.begin(), variants.end(), [](const PlannedVariant& planned) { return planned.requested; });
}

Options options_here(const DriverSpec& spec, const std::string& engine) {
  return parse_variant(engine.empty() ? spec.name : fmt::format("{}:engine={}", spec.name, engine), {},
                       preferred_options(in_user_namespace()))
      .options;
}

EngineClass actual_engine(EngineClass declared) {
  return declared == EngineClass::kernel && inside_user_mode_linux() ? EngineClass::uml : declared;
}

Plan make_plan(const RunRequest& request) {
  const Profile profile = parse_profile(request.profile);
  const auto workloads = select_workloads(request.workloads);
  const std::regex filter = user_expression(request.filter, "--filter");
  Plan plan;
  plan.seed = request.seed;
  plan.injection = Injection::parse(request.inject);
  plan.image = load_image_of(request);
  const std::string dockerfiles = take_dockerfiles(request);
  plan.blocks = request.blocks > 0 ? request.blocks : kProfileBlocks[static_cast<std::size_t>(profile)];
  plan.control = parse_variant(kControl, request.storage_opts, preferred_options(request.rootless)).slug;
  for (auto& [variant, requested] : select_variants(request)) {
    const Availability availability = variant.spec->probe(variant.options);
    if (!availability.available) {
      plan.skips.push_back({variant, availability.reason, availability.remedy});
      continue;
    }
    PlannedVariant planned{variant, actual_engine(availability.engine), requested, {}};
    for (const auto* workload : workloads) {
      if (workload->runs_on_null == variant.spec->capabilities.stores_layers) {
        continue;  // real work needs a driver that stores; the harness' own cost is measured on null alone
      }
      for (auto& params : expand_params(*workload, profile)) {
        PlannedCase planned_case{workload, plan.image ? with_image(params, *plan.image) : std::move(params)};
        if (workload->name == kDockerfiles && !dockerfiles.empty()) {
          planned_case.params.set("files", dockerfiles);
        }
        if (workload->name == kDockerfiles && request.run_steps == "exec") {
          planned_case.params.set("run", "exec");  // such times do not compare with replayed ones
        } else if (workload->name == kDockerfiles && !request.recordings.empty()) {
          planned_case.params.set("run", "recorded");
        }
        if (std::regex_search(planned_case.name(variant), filter)) {
          planned.cases.push_back(std::move(planned_case));
        }
      }
    }
    if (!planned.cases.empty()) {
      plan.variants.push_back(std::move(planned));
    }
  }
  return plan;
}

}  // namespace sbench
