#include "harness/variant.h"

#include <algorithm>
#include <cctype>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

std::pair<std::string, std::string> split_option(const std::string& text, const std::string& whole) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("'{}': '{}' is not an option; write name=value", whole, text);
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::string sanitized(std::string text) {
  for (char& c : text) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') {
      c = '-';
    }
  }
  return text;
}

/// "driver.opt=val" → driver and the rest. Docker's own names contain dots too
/// (dm.blocksize, zfs.fsname): their prefix names the driver in short form.
std::pair<std::string, std::string> split_storage_opt(const std::string& text) {
  const auto dot = text.find('.');
  if (dot == std::string::npos || text.find('=') == std::string::npos) {
    throw UsageError("--storage-opt '{}': write driver.option=value, for example overlay2.backing=xfs", text);
  }
  const std::string prefix = text.substr(0, dot);
  if (prefix == "dm") {
    return {"devicemapper", text};  // the option keeps its prefix: dm.blocksize
  }
  return {prefix, text.substr(dot + 1)};
}

}  // namespace

void check_storage_opts(const std::vector<std::string>& storage_opts) {
  for (const auto& text : storage_opts) {
    const auto [driver, option] = split_storage_opt(text);
    const auto [name, value] = split_option(option, text);
    static_cast<void>(complete_options(find_driver(driver), {{name, value}}));
  }
}

Variant parse_variant(const std::string& text, const std::vector<std::string>& storage_opts, const Options& preferred) {
  const auto colon = text.find(':');
  Variant variant;
  variant.spec = &find_driver(text.substr(0, colon));
  variant.label = text;
  Options given;
  for (const auto& storage_opt : storage_opts) {
    const auto [driver, option] = split_storage_opt(storage_opt);
    if (driver == variant.spec->name) {
      const auto [name, value] = split_option(option, storage_opt);
      given[name] = value;
    }
  }
  std::string rest = colon == std::string::npos ? std::string() : text.substr(colon + 1);
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto [name, value] = split_option(rest.substr(0, comma), text);
    given[name] = value;
    rest = comma == std::string::npos ? std::string() : rest.substr(comma + 1);
  }
  for (const auto& option : variant.spec->options) {
    if (const auto value = preferred.find(option.name); value != preferred.end()) {
      given.insert(*value);
    }
  }
  variant.options = complete_options(*variant.spec, given);
  variant.slug = variant.spec->name;
  variant.label = variant.spec->name;
  char separator = ':';
  for (const auto& option : variant.spec->options) {
    const std::string& value = variant.options.at(option.name);
    if (value != option.default_value) {
      variant.slug += "." + sanitized(option.name) + "-" + sanitized(value);
      variant.label += fmt::format("{}{}={}", separator, option.name, value);
      separator = ',';
    }
  }
  return variant;
}

}  // namespace sbench
