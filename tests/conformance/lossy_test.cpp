// lossy_test.cpp: a driver that loses anything fails the semantic check.
#include <sys/xattr.h>

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

/// The word by which the check must name the loss.
const char* word_for(Loss loss) {
  switch (loss) {
    case Loss::content_byte: return "content differs";
    case Loss::file_tail: return "size in bytes";
    case Loss::permission_bit:
    case Loss::setuid_bit:
    case Loss::fifo: return "mode is";
    case Loss::owner: return "group is";
    case Loss::mtime_nanoseconds:
    case Loss::directory_mtime: return "modification time";
    case Loss::xattr: return "user.note is missing";
    case Loss::capability:
    case Loss::xattrs_in_apply: return "security.capability is missing";
    case Loss::hard_link: return "hard link";
    case Loss::symlink_target: return "link target";
    case Loss::device_number: return "device number";
    case Loss::deletion:
    case Loss::opaqueness:
    case Loss::whiteouts_in_diff: return "should not be there";
    case Loss::new_file:
    case Loss::empty_directory: return "is missing";
    case Loss::parents: return "could be removed";
    case Loss::nothing: break;
  }
  return "";
}

bool tmpfs_has_user_xattrs() {
  write_file("/mnt/probe", "");
  return ::setxattr("/mnt/probe", "user.probe", "y", 1, 0) == 0;
}

TEST_P(Lossy, a_loss_is_caught_and_only_a_loss) {
  const auto loss = static_cast<Loss>(GetParam());
  TestStore store({"native", {}}, 128 * kMiB);
  if (loss == Loss::xattr && !tmpfs_has_user_xattrs()) {
    GTEST_SKIP() << "this kernel's tmpfs has no user xattrs (6.6 has), so the check leaves them out";
  }
  const auto lossy = make_lossy_driver(store.driver(), loss);
  const auto differences = must(semantic_check(*lossy, 5)).differences;
  if (loss == Loss::nothing) {
    EXPECT_THAT(differences, testing::IsEmpty());
  } else {
    EXPECT_THAT(differences, testing::Contains(testing::HasSubstr(word_for(loss))));
  }
}

TEST(LossyDeclared, deviations_excuse_no_loss_that_is_merely_like_them) {
  SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"native", {}}));
  for (const Loss loss : {Loss::nothing, Loss::directory_mtime, Loss::mtime_nanoseconds, Loss::setuid_bit}) {
    TestStore store({"native", {}}, 128 * kMiB);
    const auto lossy = make_lossy_driver(store.driver(), loss);
    const auto found = must(semantic_check(*lossy, 5, known_deviations("fuse-overlayfs")));
    EXPECT_EQ(found.differences.empty(), loss == Loss::nothing) << to_string(loss);
    EXPECT_THAT(found.deviations, testing::IsEmpty()) << to_string(loss);
  }
}

}  // namespace
}  // namespace sbench::test
