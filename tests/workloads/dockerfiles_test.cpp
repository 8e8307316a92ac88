// The two-application build on every driver: what is shared is found, what changed is made, and no more.
#include "tests/workloads/fake_case.h"
#include "workloads/dockerfile/applications.h"

namespace sbench::testing {
namespace {

const WorkloadSpec& dockerfiles() {
  for (const auto& spec : workload_registry()) {
    if (spec.name == "cache_reuse.dockerfiles") {
      return spec;
    }
  }
  std::abort();
}

class Dockerfiles : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = reason_not_here(GetParam()); !reason.empty()) {
      GTEST_SKIP() << GetParam() << ": " << reason;
    }
  }

  /// Layers found and made by the timed build.
  static std::pair<double, double> layers(FakeStore& store, const std::string& scenario) {
    Params params;
    params.set("scenario", scenario);
    params.set("image", "tiny");
    FakeCase c(store, params);
    const Status ran = dockerfiles().run(c);
    EXPECT_TRUE(ran.ok()) << scenario << ": " << ran.error().what;
    EXPECT_TRUE(c.phases.contains("copy.lookup") && c.phases.contains("copy.write") && c.phases.contains("copy.commit"));
    return {c.metrics["layers_hit"], c.metrics["layers_made"]};
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

INSTANTIATE_TEST_SUITE_P(Drivers, Dockerfiles, ::testing::ValuesIn(storing_drivers()), [](const auto& each) {
  std::string name = each.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

using Counts = std::pair<double, double>;

// Layers of either application: RUN packages, WORKDIR, COPY requirements, RUN install, COPY code.
TEST_P(Dockerfiles, the_second_application_makes_its_code_only_and_changes_invalidate_what_lies_below_them) {
  FakeStore store(GetParam());
  EXPECT_EQ(layers(store, "pair"), Counts(4, 1));
  EXPECT_EQ(layers(store, "touch_first"), Counts(2, 3));
  EXPECT_EQ(layers(store, "touch_last"), Counts(4, 1));
}

TEST(DockerfileStages, a_stage_is_built_and_copied_from) {
  if (!is_root()) {
    GTEST_SKIP() << "needs root";
  }
  const TemporaryFolder folder;
  const auto put = [&](const std::string& name, const std::string& text) {
    const auto fd = open_file(folder.path() / name, O_WRONLY | O_CREAT | O_TRUNC);
    ASSERT_TRUE(fd.ok() && write_all(fd->get(), text, name).ok());
  };
  put("main.c", "int main() { return 0; }\n");
  put("Dockerfile", "FROM gcc AS build\nWORKDIR /src\nCOPY main.c .\nRUN gcc main.c\n"
                    "FROM alpine AS unused\nRUN false\n"
                    "FROM scratch\nCOPY --from=build /src/main.c /app/\nCOPY main.c /\n");
  set_applications(read_applications({folder.path() / "Dockerfile"}));
  FakeStore store("native");
  Params params;
  params.set("scenario", "touch_last");
  params.set("image", "tiny");
  FakeCase c(store, params);
  const Status ran = dockerfiles().run(c);
  EXPECT_TRUE(ran.ok()) << ran.error().what;
  EXPECT_EQ(c.metrics["layers_hit"], 4);  // WORKDIR, COPY and RUN of the stage, COPY --from; the unused one not at all
  EXPECT_EQ(c.metrics["layers_made"], 1);
  set_applications({});
}

}  // namespace
}  // namespace sbench::testing
