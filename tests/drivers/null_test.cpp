// null_test.cpp: the driver that stores nothing keeps the rules and touches no device.
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

class NullDriverTest : public testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE((Variant{"native", {}})); }
};

TEST_F(NullDriverTest, layers_come_and_go_without_touching_the_device) {
  TestStore store({"null", {}}, 64 * kMiB);
  Driver& driver = store.driver();
  const auto before = must(store.device().counters());
  make_layer(driver, "base", {}, [](const std::filesystem::path& tree) { write_file(tree / "file", "x"); });
  must(driver.prepare("key", "base"));
  const std::string tar_bytes(2048, '\0');
  MemorySource tar(tar_bytes);
  must(driver.apply("key", tar));
  {
    auto tree = must(driver.mount("key"));
    EXPECT_TRUE(std::filesystem::is_empty(tree.path()));
    write_file(tree.path() / "file", "gone soon");
    EXPECT_EQ(code_of(driver.remove("key")), EBUSY);
  }
  EXPECT_TRUE(std::filesystem::is_empty(must(driver.mount("key")).path())) << "nothing is stored";
  MemorySink diff;
  must(driver.diff("key", "base", diff));
  EXPECT_EQ(diff.data(), std::string(1024, '\0')) << "an empty tar";
  must(driver.sync());
  must(driver.remove("key"));
  must(driver.remove("base"));
  EXPECT_EQ((must(store.device().counters()) - before).writes, 0u);
  store.close();
  EXPECT_FALSE(is_mount_point(store.root()));
}

}  // namespace
}  // namespace sbench::test
