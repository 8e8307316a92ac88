#include "drivers/driver.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "drivers/base/usage_error.h"

namespace sbench {

Mount::Mount(Mount&& other) noexcept
    : path_(std::move(other.path_)), release_(std::exchange(other.release_, nullptr)), adopted_(other.adopted_) {}

Mount& Mount::operator=(Mount&& other) noexcept {
  if (this != &other) {
    if (release_ && !adopted_) {
      static_cast<void>(release_());
    }
    path_ = std::move(other.path_);
    release_ = std::exchange(other.release_, nullptr);
    adopted_ = other.adopted_;
  }
  return *this;
}

Mount::~Mount() {
  if (release_ && !adopted_) {
    static_cast<void>(release_());  // a caller who wants the error calls release()
  }
}

Status Mount::release() {
  if (!release_) {
    return {};
  }
  return std::exchange(release_, nullptr)();
}

void Mount::detach() { release_ = nullptr; }

const char* to_string(EngineClass engine) {
  switch (engine) {
    case EngineClass::kernel: return "kernel";
    case EngineClass::uml: return "uml";
    case EngineClass::userspace: return "userspace";
  }
  return "?";
}

const DriverSpec& find_driver(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& spec : driver_registry()) {
    if (spec.name == name) {
      return spec;
    }
    known.push_back(spec.name);
  }
  throw UsageError("unknown driver '{}'; known drivers: {}", name, fmt::join(known, ", "));
}

Options complete_options(const DriverSpec& spec, const Options& given) {
  Options complete;
  std::vector<std::string> known;
  for (const auto& option : spec.options) {
    complete[option.name] = option.default_value;
    known.push_back(option.name);
  }
  for (const auto& [name, value] : given) {
    const auto option = std::find_if(spec.options.begin(), spec.options.end(),
                                     [&name = name](const OptionSpec& each) { return each.name == name; });
    if (option == spec.options.end()) {
      throw UsageError("driver {} has no option '{}'; its options: {}", spec.name, name,
                       known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
    }
    const auto& allowed = option->allowed;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      throw UsageError("driver {}: option {} cannot be '{}'; allowed: {}", spec.name, name, value,
                       fmt::join(allowed, ", "));
    }
    complete[name] = value;
  }
  return complete;
}

}  // namespace sbench
