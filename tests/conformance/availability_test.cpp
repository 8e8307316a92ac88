// availability_test.cpp: says aloud which drivers the suite could not run over, and why.
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

class Availability : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Drivers, Availability, testing::ValuesIn(all_variants()),
                         [](const auto& variant) { return variant.param.test_name(); });

TEST_P(Availability, the_conformance_suite_ran_over_this_driver) {
  const std::string reason = reason_not_here(GetParam());
  if (!reason.empty()) {
    GTEST_SKIP() << GetParam().name() << ": " << reason;
  }
  const auto available = available_variants();
  EXPECT_TRUE(std::any_of(available.begin(), available.end(),
                          [](const Variant& each) { return each.name() == GetParam().name(); }));
}

}  // namespace
}  // namespace sbench::test
