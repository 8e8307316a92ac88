// Option strings: variants, storage options, sizes, durations, slowdowns on purpose. Input: lines, the first byte of each says as what.
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "harness/injection.h"
#include "harness/variant.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

void parse(char kind, const std::string& text) {
  switch (kind) {
    case 's': {
      const std::uint64_t bytes = parse_size(text, "--size");
      require(parse_size(format_size(bytes), "again") == bytes, "a size changes when it is written and read");
      break;
    }
    case 'd':
      static_cast<void>(human_duration(static_cast<double>(parse_duration_s(text, "--budget"))));
      break;
    case 'o':
      check_storage_opts({text});
      static_cast<void>(parse_variant("devicemapper", {text}));
      break;
    case 'i':
      static_cast<void>(Injection::parse(text));  // searching takes as long as the user's own expression wants
      break;
    default: {
      const Variant variant = parse_variant(text);
      require(variant.spec != nullptr && !variant.slug.empty(), "a variant without a driver");
      for (const char c : variant.slug) {
        require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-',
                "the slug " + variant.slug + " cannot be part of a file name");
      }
      static_cast<void>(parse_variant(variant.label));
    }
  }
}

void run(Bytes input) {
  std::string rest = text_of(input);
  for (int lines = 0; lines < 16 && !rest.empty(); ++lines) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string line = rest.substr(0, end);
    rest.erase(0, std::min(end + 1, rest.size()));
    if (line.empty()) {
      continue;
    }
    try {
      parse(line.front(), line.substr(1));
    } catch (const UsageError& error) {
      require(error.what()[0] != '\0', "an error without words");
    }
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> made = {"s64K\ns18446744073709551615\ns16777215T\ns16MiB\nd1h30m\nd99999999h\n",
                                   "odm.basesize=10G\nooverlay2.backing=xfs\nozfs.recordsize=16K\n",
                                   "icopy_up=slow:20%\ni.*=write:1400K\n"};
  for (const auto& spec : driver_registry()) {
    std::string line = "v" + spec.name;
    char separator = ':';
    for (const auto& option : spec.options) {
      line += separator + option.name + "=" + (option.allowed.empty() ? option.default_value : option.allowed.back());
      separator = ',';
    }
    made.push_back(line);
  }
  return made;
}

const Target target("options", run, seeds, 400, 4096);

}  // namespace
}  // namespace sbench::fuzz
