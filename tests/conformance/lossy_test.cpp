// lossy_test.cpp: a driver that loses anything fails the semantic check.
#include "harness/semantic_check.h"
#include "tests/conformance/lossy_driver.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

class Lossy : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"native", {}})); }
};
INSTANTIATE_TEST_SUITE_P(EveryLoss, Lossy, testing::Range(0, kLosses),
                         [](const auto& loss) { return to_string(static_cast<Loss>(loss.param)); });

TEST_P(Lossy, a_loss_is_caught_and_only_a_loss) {
  const auto loss = static_cast<Loss>(GetParam());
  TestStore store({"native", {}}, 128 * kMiB);
  const auto lossy = make_lossy_driver(store.driver(), loss);
  const auto differences = must(semantic_check(*lossy, 5));
  if (loss == Loss::nothing) {
    EXPECT_THAT(differences, testing::IsEmpty());
  } else {
    EXPECT_THAT(differences, testing::Not(testing::IsEmpty()));
  }
}

}  // namespace
}  // namespace sbench::test
