// physical_truth_test.cpp: what a first write costs the device, by the device's own counters.
//
// The numbers the whole benchmark rests on: overlayfs copies a lower file in
// full where the backing cannot clone, and next to nothing where it can.
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

constexpr std::uint64_t kFileBytes = 64 * kMiB;

struct Expectation {
  Variant variant;
  std::uint64_t first_write_min;
  std::uint64_t first_write_max;
  std::uint64_t chown_min;
  std::uint64_t chown_max;
};

void PrintTo(const Expectation& expectation, std::ostream* out) { *out << expectation.variant.name(); }

class PhysicalTruth : public testing::TestWithParam<Expectation> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(GetParam().variant); }

  /// Device bytes written by `act` on the cold 64 MiB file of a fresh container, until all is durable.
  template <typename Act>
  static std::uint64_t bytes_written_by(TestStore& store, const LayerId& container, Act&& act) {
    must(store.driver().prepare(container, "image"));
    must(store.driver().sync());
    store.reopen();  // unmounting the backing drops its caches
    auto tree = must(store.driver().mount(container));
    must(store.driver().sync());
    const auto before = must(store.device().counters());
    act(tree.path() / "big");
    must(store.driver().sync());
    return (must(store.device().counters()) - before).bytes_written;
  }
};

const Expectation kExpectations[] = {
    {{"native", {}}, 0, 2 * kMiB, 0, 2 * kMiB},
    {{"overlay2", {}}, 63 * kMiB, 70 * kMiB, 63 * kMiB, 70 * kMiB},
    {{"overlay", {}}, 63 * kMiB, 70 * kMiB, 63 * kMiB, 70 * kMiB},
    {{"overlay2", {{"metacopy", "on"}}}, 63 * kMiB, 70 * kMiB, 0, 2 * kMiB},
    {{"overlay2", {{"backing", "xfs"}}}, 0, 2 * kMiB, 0, 2 * kMiB},
    {{"overlay2", {{"backing", "btrfs"}}}, 0, 2 * kMiB, 0, 2 * kMiB},
    {{"btrfs", {}}, 0, 2 * kMiB, 0, 2 * kMiB},
    {{"vfs", {{"backing", "xfs"}}}, 0, 2 * kMiB, 0, 2 * kMiB},
};
INSTANTIATE_TEST_SUITE_P(Drivers, PhysicalTruth, testing::ValuesIn(kExpectations),
                         [](const auto& each) { return each.param.variant.test_name(); });

TEST_P(PhysicalTruth, first_touches_of_a_cold_64_MiB_lower_file_cost_what_the_mechanism_costs) {
  TestStore store(GetParam().variant);
  make_layer(store.driver(), "image", {},
             [](const std::filesystem::path& tree) { write_file(tree / "big", std::string(kFileBytes, 'b')); });
  const auto first_write = bytes_written_by(store, "writer", [](const std::filesystem::path& file) {
    const Fd fd = must(open_file(file, O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), std::string(4096, 'w').data(), 4096, kFileBytes / 2), 4096);
    ASSERT_EQ(::fsync(fd.get()), 0);
  });
  const auto chown = bytes_written_by(
      store, "chowner", [](const std::filesystem::path& file) { ASSERT_EQ(::chown(file.c_str(), 5, 6), 0); });
  RecordProperty("first_write_bytes", std::to_string(first_write));
  RecordProperty("chown_bytes", std::to_string(chown));
  std::printf("%-28s first write %8.3f MiB   chown %8.3f MiB\n", GetParam().variant.name().c_str(),
              static_cast<double>(first_write) / kMiB, static_cast<double>(chown) / kMiB);
  EXPECT_GE(first_write, std::max<std::uint64_t>(GetParam().first_write_min, 4096));
  EXPECT_LE(first_write, GetParam().first_write_max);
  EXPECT_GE(chown, GetParam().chown_min);
  EXPECT_LE(chown, GetParam().chown_max);
}

TEST_P(PhysicalTruth, capabilities_say_whether_a_first_write_copies_the_file) {
  TestStore store(GetParam().variant);
  EXPECT_EQ(store.driver().capabilities().copies_whole_file, GetParam().first_write_min > 0);
}

}  // namespace
}  // namespace sbench::test
