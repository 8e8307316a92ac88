// `sbench explain` on every driver: the layer it names is the one whose entry the mounted tree shows.
#include "harness/explain.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/workloads/fake_case.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void put(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  const auto fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  ASSERT_TRUE(fd.ok() && write_all(fd->get(), text, path.string()).ok());
}

class Explain : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = reason_not_here(GetParam()); !reason.empty()) {
      GTEST_SKIP() << GetParam() << ": " << reason;
    }
  }

  static void layer(FakeStore& store, const LayerId& id, const ParentId& parent, const std::function<void(const fs::path&)>& write,
                    bool committed = true) {
    ASSERT_TRUE(store.driver().prepare(id, parent).ok());
    auto mount = store.driver().mount(id);
    ASSERT_TRUE(mount.ok()) << mount.error().what;
    write(mount->path());
    const Status released = mount->release();
    ASSERT_TRUE(released.ok()) << released.error().what;
    ASSERT_TRUE(!committed || store.driver().commit(id, id).ok());
  }

  static std::string answer(FakeStore& store, const LayerId& id, const std::string& path) {
    const auto made = explain_path(store.driver(), GetParam(), store.root(), id, path);
    if (!made.ok()) {
      return made.error().what;
    }
    EXPECT_FALSE(made->rows.empty());
    EXPECT_FALSE(made->reason.empty()) << path;
    return made->answer.value_or("none");
  }
};

std::vector<std::string> storing_drivers() {
  std::vector<std::string> names;
  for (const auto& spec : driver_registry()) {
    if (spec.capabilities.stores_layers) {
      names.push_back(spec.name);
    }
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Drivers, Explain, ::testing::ValuesIn(storing_drivers()), [](const auto& each) {
  std::string name = each.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(Explain, the_layer_that_last_wrote_or_deleted_a_path_is_named) {
  FakeStore store(GetParam());
  layer(store, "base", {}, [](const fs::path& root) {
    for (const char* name : {"a/kept", "a/changed", "a/deleted", "dir/old", "gone/x", "back"}) {
      put(root / name, "base");
    }
  });
  layer(store, "app", "base", [](const fs::path& root) {
    put(root / "a/changed", "app!");
    put(root / "a/added", "app");
    fs::remove(root / "a/deleted");
    fs::remove(root / "back");
    fs::remove_all(root / "gone");
  });
  layer(store, "run", "app", [](const fs::path& root) {
    fs::remove_all(root / "dir");
    put(root / "dir/new", "run");
    put(root / "back", "run");
  }, false);
  const std::map<std::string, std::string> expected = {
      {"a/kept", "base"}, {"/a/changed", "app"}, {"a/added", "app"}, {"a/deleted", "none"}, {"gone/x", "none"},
      {"gone", "none"},   {"dir/old", "none"},   {"dir/new", "run"}, {"back", "run"},       {"never", "none"},
      {"never/there", "none"}, {"a/kept/below", "none"}};
  for (const auto& [path, layer_name] : expected) {
    EXPECT_EQ(answer(store, "run", path), layer_name) << path;
  }
  EXPECT_EQ(answer(store, "base", "a/deleted"), "base");
  EXPECT_EQ(answer(store, "app", "back"), "none");
  EXPECT_THAT(answer(store, "run", "../a"), HasSubstr("no path in a container"));
  EXPECT_THAT(answer(store, "missing", "a"), HasSubstr("no layer missing"));
}

class ExplainOverlay : public Explain {};
INSTANTIATE_TEST_SUITE_P(Drivers, ExplainOverlay, ::testing::Values("overlay2"));

TEST_P(ExplainOverlay, renamed_directories_and_metadata_copies_are_followed) {
  FakeStore store(GetParam(), {}, {{"metacopy", "on"}});
  layer(store, "base", {}, [](const fs::path& root) {
    put(root / "one/two/file", "base");
    put(root / "data", std::string(5000, 'x'));
  });
  layer(store, "app", "base", [](const fs::path& root) {
    fs::rename(root / "one/two", root / "moved");
    ASSERT_EQ(::chmod((root / "data").c_str(), 0600), 0);
  });
  layer(store, "run", "app", [](const fs::path& root) { fs::rename(root / "moved", root / "again"); }, false);
  EXPECT_EQ(answer(store, "run", "again/file"), "base");
  EXPECT_EQ(answer(store, "app", "moved/file"), "base");
  EXPECT_EQ(answer(store, "run", "moved/file"), "none");
  EXPECT_EQ(answer(store, "app", "one/two/file"), "none");
  const auto data = explain_path(store.driver(), GetParam(), store.root(), "run", "data");
  ASSERT_TRUE(data.ok()) << data.error().what;
  EXPECT_EQ(data->answer, "app");
  EXPECT_THAT(data->reason, HasSubstr("content is base's"));
}

}  // namespace
}  // namespace sbench::testing
