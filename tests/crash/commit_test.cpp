// commit_test.cpp: a commit renames a layer's content and then its row; whatever a power loss or kill leaves of it is
// finished.
#include "tests/conformance/variants.h"

namespace sbench::crash {
namespace {

using namespace sbench::test;

class InterruptedCommit : public ::testing::TestWithParam<Variant> {};

std::string list_of(Driver& driver) {
  std::string text;
  for (const auto& [id, parent] : must(driver.list())) {
    text += fmt::format("{}({}) ", id, parent.value_or("-"));
  }
  return text;
}

std::string content_of(Driver& driver, const LayerId& id) {
  auto tree = must(driver.mount(id));
  const std::string text = read_file(tree.path() / "file");
  must(tree.release());
  return text;
}

TEST_P(InterruptedCommit, is_finished_by_whoever_opens_the_store) {
  SBENCH_SKIP_UNLESS_AVAILABLE(GetParam());
  TestStore store(GetParam(), 600 * kMiB);
  make_layer(store.driver(), "base", {}, [](const auto& root) { write_file(root / "base", "base"); });
  must(store.driver().prepare("key", "base"));
  {
    auto tree = must(store.driver().mount("key"));
    write_file(tree.path() / "file", "text");
    must(tree.release());
  }
  // Nothing was renamed yet.
  std::filesystem::create_symlink("name/key", store.tables() / "committing");
  store.reopen();
  EXPECT_EQ(list_of(store.driver()), "base(-) name(base) ");
  EXPECT_EQ(content_of(store.driver(), "name"), "text");
  EXPECT_FALSE(std::filesystem::is_symlink(store.tables() / "committing"));
  // The content was, the row not.
  std::filesystem::rename(store.tables() / "committed/name", store.tables() / "active/key");
  std::filesystem::create_symlink("name/key", store.tables() / "committing");
  store.reopen();
  EXPECT_EQ(content_of(store.driver(), "name"), "text");
  EXPECT_EQ(list_of(store.driver()), "base(-) name(base) ");
  // Everything was, and only the note is left.
  std::filesystem::create_symlink("name/key", store.tables() / "committing");
  store.reopen();
  EXPECT_EQ(list_of(store.driver()), "base(-) name(base) ");
  make_layer(store.driver(), "child", "name", [](const auto& root) { EXPECT_EQ(read_file(root / "file"), "text"); });
}

std::vector<Variant> drivers() {
  std::vector<Variant> plain = available_variants();
  std::erase_if(plain,
                [](const Variant& variant) { return !variant.given.empty() && variant.given.count("engine") == 0; });
  return plain;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InterruptedCommit);
INSTANTIATE_TEST_SUITE_P(Drivers, InterruptedCommit, ::testing::ValuesIn(drivers()),
                         [](const auto& variant) { return variant.param.test_name(); });

}  // namespace
}  // namespace sbench::crash
