// registry_test.cpp: what the list of drivers promises, for those that cannot run as well.
#include <gmock/gmock.h>

#include <set>

#include "drivers/base/usage_error.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

TEST(Registry, every_driver_has_a_name_a_summary_and_working_defaults) {
  std::set<std::string> names;
  for (const auto& spec : driver_registry()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_FALSE(spec.summary.empty()) << spec.name;
    EXPECT_EQ(spec.summary.find('\n'), std::string::npos) << spec.name;
    const Options options = complete_options(spec, {});
    EXPECT_EQ(options.size(), spec.options.size());
    for (const auto& option : spec.options) {
      EXPECT_FALSE(option.help.empty()) << spec.name << "." << option.name;
      if (!option.allowed.empty()) {
        EXPECT_THAT(option.allowed, testing::Contains(option.default_value)) << spec.name << "." << option.name;
      }
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"native", "overlay2", "overlay", "aufs", "devicemapper", "btrfs", "zfs",
                                          "vfs", "fuse-overlayfs", "null"}));
}

TEST(Registry, a_driver_that_cannot_run_says_why_and_what_would_help) {
  for (const auto& spec : driver_registry()) {
    const auto availability = spec.probe(complete_options(spec, {}));
    EXPECT_TRUE(availability.available || !availability.reason.empty()) << spec.name;  // one that runs may say why this engine
    EXPECT_EQ(availability.remedy.empty(), availability.available) << spec.name;
  }
}

TEST(Registry, zfs_refuses_to_format_and_to_open_in_the_words_of_its_probe) {
  if (const auto reason = reason_not_here({"native", {}}); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const Variant variant{"zfs", {{"engine", "kernel"}}};
  const auto availability = variant.spec().probe(variant.options());
  if (availability.available) {
    GTEST_SKIP() << "zfs runs here";
  }
  enter_private_mounts();
  const auto device = must(Device::make_image("/var/tmp", 64 * kMiB));
  const auto formatted = variant.spec().format(*device, variant.options());
  const auto opened = variant.spec().open(*device, variant.options(), "/mnt");
  EXPECT_EQ(code_of(formatted), ENOTSUP);
  EXPECT_EQ(code_of(opened), ENOTSUP);
  EXPECT_THAT(formatted.error().what, testing::HasSubstr(availability.reason));
  EXPECT_EQ(formatted.error().what, opened.error().what);
}

TEST(Registry, unknown_drivers_and_options_name_what_there_is) {
  EXPECT_THROW(
      {
        try {
          static_cast<void>(find_driver("overlay3"));
        } catch (const UsageError& error) {
          EXPECT_THAT(error.what(), testing::HasSubstr("overlay2"));
          throw;
        }
      },
      UsageError);
  EXPECT_THROW(static_cast<void>(complete_options(find_driver("overlay2"), {{"backing", "fat"}})), UsageError);
  EXPECT_THROW(static_cast<void>(complete_options(find_driver("overlay2"), {{"colour", "red"}})), UsageError);
}

}  // namespace
}  // namespace sbench::test
