// The two-application build on every driver: what is shared is found, what changed is made, and no more.
#include <gmock/gmock.h>

#include "drivers/layer/tree.h"
#include "tests/workloads/fake_case.h"
#include "tests/support/busybox.h"
#include "workloads/content/base_image.h"
#include "workloads/dockerfile/applications.h"
#include "workloads/dockerfile/build.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;

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
    const std::string code = scenario == "pair" ? "worker.Dockerfile:7.copy" : "web.Dockerfile:7.copy";
    for (const char* phase : {"lookup", "prepare", "mount", "write", "unmount", "diff", "commit"}) {
      EXPECT_TRUE(c.phases.contains(code + "." + phase)) << code << "." << phase;
    }
    EXPECT_EQ(c.metrics.at(code + ".hit"), 0);
    EXPECT_GT(c.metrics.at(code + ".bytes"), 0);
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

/// Builds `text` with its RUN steps run for real, on a tree of busybox; returns what `scenario` said.
class ExecutedRun : public Dockerfiles {
 protected:
  void SetUp() override {
    Dockerfiles::SetUp();
    for (const auto& reason : {reason_no_busybox(), reason_no_exec()}) {
      if (!IsSkipped() && !reason.empty()) {
        GTEST_SKIP() << reason;
      }
    }
  }
  void TearDown() override {
    set_run_steps({});
    set_applications({});
  }

  RunSteps steps_{true, 60, {}};

  Status build(const std::string& text, const std::string& scenario, double layers_hit) {
    const TemporaryFolder context;
    const TemporaryFolder tree;
    make_busybox_tree(tree.path());
    SBENCH_TRY_SET(const auto image, load_base_image("host:" + tree.path().string(), ""));
    for (const auto& [name, content] : {std::pair("Dockerfile", text), std::pair("code", std::string("code\n"))}) {
      SBENCH_TRY_SET(const Fd fd, open_file(context.path() / name, O_WRONLY | O_CREAT));
      SBENCH_TRY(write_all(fd.get(), content, name));
    }
    set_applications(read_applications({context.path() / "Dockerfile"}));
    set_run_steps(steps_);
    FakeStore store(GetParam());
    Params params;
    params.set("scenario", scenario);
    params.set("image", "tiny");
    FakeCase c(store, params);
    c.given_image = image.get();
    SBENCH_TRY(dockerfiles().run(c));
    EXPECT_EQ(c.metrics["layers_made"], 2);
    EXPECT_EQ(c.metrics["layers_hit"], layers_hit);
    return {};
  }
};

INSTANTIATE_TEST_SUITE_P(Drivers, ExecutedRun, ::testing::ValuesIn(storing_drivers()), [](const auto& each) {
  std::string name = each.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Each RUN proves what the one before left in its layer: content, deletion, owners, modes.
TEST_P(ExecutedRun, commands_see_what_earlier_layers_hold_and_fail_with_their_line) {
  const std::string start = "FROM busybox\nENV WHO=world\nARG N=3\nWORKDIR /srv/app\n"
                            "RUN echo hello $WHO $N > greeting && rm /etc/group && chown 1234:77 /srv/app\n"
                            "RUN [\"/bin/sh\", \"-c\", \"test ! -e /etc/group && test \\\"$(cat greeting)\\\" = 'hello world 3'\"]\n"
                            "USER app\nRUN echo mine > own && test $(stat -c %u own) = 1234\n";
  const Status ran = build(start + "COPY code /code\nRUN test $(cat /code) = code && test $(cat own) = mine\n", "touch_last", 4);
  EXPECT_TRUE(ran.ok()) << ran.error().what;
  const Status failed = build(start + "COPY code /code\nRUN echo it is broken; exit 3\n", "touch_last", 4);
  ASSERT_FALSE(failed.ok());
  EXPECT_TRUE(failed.error().what.ends_with("Dockerfile:10: RUN failed: exit code 3: it is broken")) << failed.error().what;
}

/// The tree of the one Dockerfile there is, built on `driver` without COPY: those files' times are the build's.
Result<Tree> built_tree(const std::string& driver, const BaseImage& image) {
  FakeStore store(driver);
  Params params;
  params.set("image", "tiny");
  FakeCase c(store, params);
  c.given_image = &image;
  Scratch scratch(c);
  DockerBuilder builder(c, scratch, ImageScale::tiny);
  SBENCH_TRY_SET(const DockerBuild build, builder.build(applications().front(), false));
  Tree tree;
  {
    SBENCH_TRY_SET(Mount mount, store.driver().mount(build.top));
    SBENCH_TRY_SET(tree, read_tree(mount.path(), {.directory_times = false}));
    SBENCH_TRY(mount.release());
  }
  SBENCH_TRY(scratch.remove_all());
  return tree;
}

TEST_P(ExecutedRun, what_a_command_changed_is_recorded_once_and_replayed_to_the_same_tree) {
  const TemporaryFolder context;
  const TemporaryFolder base;
  const TemporaryFolder recordings;
  make_busybox_tree(base.path());
  const auto image = load_base_image("host:" + base.path().string(), "");
  ASSERT_TRUE(image.ok()) << image.error().what;
  ASSERT_TRUE(write_text_atomic(context.path() / "Dockerfile",
                                "FROM busybox\nRUN mkdir -p /srv/app && echo one > /srv/app/file && ln -s file /srv/app/link\n"
                                "RUN rm /etc/group && chmod 4711 /srv/app/file && chown 12:34 /srv/app/file && echo two > /srv/two\n").ok());
  set_applications(read_applications({context.path() / "Dockerfile"}));
  set_run_steps({true, 60, recordings.path()});
  const auto executed = built_tree("native", **image);
  ASSERT_TRUE(executed.ok()) << executed.error().what;
  set_run_steps({false, 60, recordings.path()});
  const auto replayed = built_tree(GetParam(), **image);
  ASSERT_TRUE(replayed.ok()) << replayed.error().what;
  EXPECT_THAT(compare_trees(*executed, *replayed), ::testing::IsEmpty());
  EXPECT_TRUE(executed->contains("srv/two") && !executed->contains("etc/group"));

  // In another folder, as what was read is kept: a recording that lost its end is none.
  const TemporaryFolder damaged;
  for (const auto& file : fs::directory_iterator(recordings.path())) {
    fs::copy(file.path(), damaged.path() / file.path().filename());
    if (file.path().extension() == ".tar") {
      fs::resize_file(damaged.path() / file.path().filename(), fs::file_size(file.path()) - 512);
    }
  }
  set_run_steps({false, 60, damaged.path()});
  const auto failed = built_tree(GetParam(), **image);
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().what, ::testing::HasSubstr(".txt says was recorded"));
}

// What a step finds of the COPY before it; names come from the image's own databases.
TEST_P(ExecutedRun, copy_gives_files_the_owner_and_mode_it_names) {
  const std::string text = "FROM busybox\n"
                           "RUN echo late:x:500:501::/: >> /etc/passwd\n"
                           "COPY --chown=app:other --chmod=4750 code /new/deep/named\n"
                           "COPY --chown=late code /late\n"
                           "COPY --chmod=600 --chown=7 code /number\n"
                           "RUN test \"$(stat -c %u:%g:%a /new /new/deep/named /late /number | busybox tr '\\n' ' ')\" = "
                           "'1234:88:755 1234:88:4750 500:500:644 7:7:600 '\n";
  const Status ran = build(text, "touch_last", 3);
  EXPECT_TRUE(ran.ok()) << ran.error().what;
  const Status failed = build("FROM busybox\nCOPY --chown=missing code /code\n", "touch_last", 0);
  ASSERT_FALSE(failed.ok());
  EXPECT_TRUE(failed.error().what.ends_with("Dockerfile:2: --chown: the image's /etc/passwd has no user missing"))
      << failed.error().what;
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
