// layer_table_test.cpp: the table's rules, and that it reads back what it wrote.
#include "drivers/layer/layer_table.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "drivers/base/file.h"
#include "tests/conformance/test_store.h"

namespace sbench::test {
namespace {

class LayerTableTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = must(make_unique_directory("/tmp/sbench-table-"));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(LayerTableTest, a_table_reads_back_what_was_written) {
  auto table = must(LayerTable::open(directory_));
  must(table.add("base", {}));
  must(table.commit("base", "base"));
  must(table.add("key", "base"));
  must(table.commit("image", "key"));
  must(table.add("container", "image"));
  const auto again = must(LayerTable::open(directory_));
  ASSERT_EQ(again.rows().size(), 3u);
  EXPECT_EQ(must(again.find("image")).kind, LayerTable::Kind::committed);
  EXPECT_EQ(must(again.find("container")).kind, LayerTable::Kind::active);
  EXPECT_EQ(must(again.ancestors("container")), (std::vector<LayerId>{"image", "base"}));
  EXPECT_TRUE(again.has_children("base"));
  EXPECT_FALSE(again.has_children("container"));
}

TEST_F(LayerTableTest, removed_rows_stay_removed) {
  auto table = must(LayerTable::open(directory_));
  must(table.add("a", {}));
  must(table.commit("a", "a"));
  must(table.add("b", "a"));
  EXPECT_EQ(code_of(table.remove("a")), ENOTEMPTY);
  must(table.remove("b"));
  must(table.remove("a"));
  EXPECT_TRUE(must(LayerTable::open(directory_)).rows().empty());
}

TEST_F(LayerTableTest, a_commit_that_was_begun_is_known_to_the_next_until_it_is_done_or_void) {
  {
    auto table = must(LayerTable::open(directory_));
    must(table.add("key", {}));
    must(table.begin_commit("name", "key"));
  }
  {
    auto table = must(LayerTable::open(directory_));
    ASSERT_TRUE(table.interrupted_commit().has_value());
    EXPECT_EQ(table.interrupted_commit()->name, "name");
    EXPECT_EQ(table.interrupted_commit()->key, "key");
    must(table.commit("name", "key"));
    EXPECT_FALSE(table.interrupted_commit().has_value());
    must(table.add("key", {}));
    must(table.begin_commit("other", "key"));
    must(table.remove("key"));
  }
  {
    auto table = must(LayerTable::open(directory_));
    EXPECT_FALSE(table.interrupted_commit().has_value()) << "its layer is gone";
    must(table.add("key", {}));
  }
  EXPECT_FALSE(must(LayerTable::open(directory_)).interrupted_commit().has_value()) << "another layer has the key";
}

TEST_F(LayerTableTest, a_table_in_memory_keeps_the_same_rules) {
  auto table = LayerTable::in_memory();
  must(table.add("a", {}));
  EXPECT_EQ(code_of(table.add("a", {})), EEXIST);
  EXPECT_EQ(code_of(table.add("b", "a")), EINVAL);
  must(table.commit("b", "a"));
  must(table.add("c", "b"));
  EXPECT_EQ(code_of(table.remove("b")), ENOTEMPTY);
}

TEST_F(LayerTableTest, strange_rows_are_damage) {
  must(LayerTable::open(directory_));
  std::filesystem::create_symlink("nobody", directory_ / "active" / "orphan");
  EXPECT_EQ(code_of(LayerTable::open(directory_)), EUCLEAN) << "the parent is missing";
  std::filesystem::remove(directory_ / "active" / "orphan");
  write_file(directory_ / "committed" / "file", "not a link");
  EXPECT_EQ(code_of(LayerTable::open(directory_)), EUCLEAN);
  std::filesystem::remove(directory_ / "committed" / "file");
  std::filesystem::create_symlink("../../etc", directory_ / "active" / "escape");
  EXPECT_EQ(code_of(LayerTable::open(directory_)), EUCLEAN) << "a parent is an id";
  std::filesystem::remove(directory_ / "active" / "escape");
  std::filesystem::create_symlink("-", directory_ / "active" / "twice");
  std::filesystem::create_symlink("-", directory_ / "committed" / "twice");
  EXPECT_EQ(code_of(LayerTable::open(directory_)), EUCLEAN) << "active and committed";
}

}  // namespace
}  // namespace sbench::test
