// variants.h: every driver and variant that the conformance suite runs over.
//
// Drivers come from the registry, so a new one is tested by tests that exist.
// Those that cannot run here skip aloud, once each (availability_test.cpp).
#pragma once

#include <gmock/gmock.h>

#include <vector>

#include "drivers/deviations.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {

/// Every driver that stores layers, and variants worth their time.
inline std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (const auto& spec : driver_registry()) {
    if (spec.capabilities.stores_layers) {
      variants.push_back({spec.name, {}});
    }
  }
  const std::vector<Variant> more = {
      {"overlay2", {{"backing", "xfs"}}}, {"overlay2", {{"backing", "btrfs"}}},   {"overlay2", {{"metacopy", "on"}}},
      {"overlay2", {{"index", "on"}, {"redirect_dir", "on"}}}, {"overlay2", {{"volatile", "on"}}},
      {"overlay2", {{"engine", "userspace"}}},
      {"overlay2", {{"engine", "userspace"}, {"metacopy", "on"}}},
      {"btrfs", {{"quota", "on"}}},       {"vfs", {{"backing", "xfs"}}},
      {"zfs", {{"engine", "userspace"}, {"recordsize", "16K"}, {"compression", "lz4"}}},
      {"devicemapper", {{"engine", "userspace"}, {"dm.export", "ublk"}}},  // tests/vm
  };
  variants.insert(variants.end(), more.begin(), more.end());
  return variants;
}

inline std::vector<Variant> available_variants() {
  std::vector<Variant> available;
  for (auto& variant : all_variants()) {
    if (reason_not_here(variant).empty()) {
      available.push_back(std::move(variant));
    }
  }
  return available;
}

/// What somebody else's program is known not to do; empty for every driver of ours.
inline std::string known_deviations_of(const Variant& variant) {
  std::string all;
  for (const Deviation deviation : known_deviations(variant.driver)) {
    all += (all.empty() ? "" : "; ") + to_string(deviation);
  }
  return all;
}

}  // namespace sbench::test

/// For tests that follow a driver call by call, which ends at its first deviation; the semantic check excuses them one by one.
#define SBENCH_SKIP_KNOWN_DEVIATIONS(variant)                                                   \
  if (const auto reason = ::sbench::test::known_deviations_of(variant); !reason.empty()) \
  GTEST_SKIP() << (variant).name() << ": " << reason

#define SBENCH_INSTANTIATE_FOR_EVERY_DRIVER(suite)                                                  \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                                             \
  INSTANTIATE_TEST_SUITE_P(Drivers, suite, testing::ValuesIn(::sbench::test::available_variants()), \
                           [](const auto& variant) { return variant.param.test_name(); })
