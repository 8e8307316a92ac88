// Whole command lines, in process: help, mistakes, plans, a run with its report, the layer commands.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/block/device.h"
#include "harness/console.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using testing::run_command;
using testing::TemporaryFolder;

#define SKIP_WITHOUT_ROOT() \
  if (!testing::is_root()) GTEST_SKIP() << "needs root to make loop devices and mounts"

/// One line on stderr, nothing on stdout, exit code 2.
void expect_usage_error(const std::vector<std::string>& arguments, const std::string& part) {
  const auto result = run_command(arguments);
  EXPECT_EQ(result.exit_code, kExitUsage) << result.err;
  EXPECT_TRUE(result.out.empty()) << result.out;
  EXPECT_EQ(testing::line_count(result.err), 1u) << result.err;
  EXPECT_THAT(result.err, HasSubstr(part));
}

TEST(Cli, help_is_the_golden_text) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"run", "--help"},
                                                    {"layer", "--help"},
                                                    {"explain", "--help"},
                                                    {"report", "--help"},
                                                    {"compare", "--help"},
                                                    {"gate", "--help"},
                                                    {"choose", "--help"}}) {
    const auto result = run_command(arguments);
    EXPECT_EQ(result.exit_code, 0);
    const std::string name = arguments.size() == 1 ? "help" : "help-" + arguments[0];
    const std::filesystem::path golden = std::filesystem::path(SBENCH_TEST_DATA) / "cli" / (name + ".txt");
    if (std::getenv("SBENCH_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(golden) << result.out;
    }
    EXPECT_EQ(result.out, *read_text(golden)) << "after an intended change, run with SBENCH_UPDATE_GOLDEN=1";
  }
}

TEST(Cli, help_fits_eighty_columns_or_wraps_by_itself) {
  std::istringstream lines(run_command({"--help"}).out);
  std::string line;
  while (std::getline(lines, line)) {
    EXPECT_LE(line.size(), 120u) << line;
  }
}

TEST(Cli, mistakes_get_one_line_and_exit_code_2) {
  expect_usage_error({}, "subcommand");
  expect_usage_error({"fly"}, "fly");
  expect_usage_error({"run", "--driver", "overlay3", "--dry-run"}, "unknown driver 'overlay3'");
  expect_usage_error({"run", "--driver", "overlay2:backing=fat", "--dry-run"}, "allowed: ext4, xfs, btrfs, folder");
  expect_usage_error({"run", "--driver", "overlay2:colour=red", "--dry-run"}, "no option 'colour'");
  expect_usage_error({"run", "--storage-opt", "overlay2", "--dry-run"}, "driver.option=value");
  expect_usage_error({"run", "--workload", "sleep", "--dry-run"}, "unknown workload 'sleep'");
  expect_usage_error({"run", "--profile", "slow", "--dry-run"}, "unknown profile 'slow'");
  expect_usage_error({"run", "--filter", "(", "--dry-run"}, "regular expression");
  expect_usage_error({"run", "--budget", "soon", "--dry-run"}, "duration");
  expect_usage_error({"run", "--seed", "x", "--dry-run"}, "whole number");
  expect_usage_error({"run", "--blocks", "0", "--dry-run"}, "--blocks");
  expect_usage_error({"run", "--progress", "loud", "--dry-run"}, "--progress");
}

TEST(Cli, dry_run_prints_the_plan_and_the_same_seed_gives_the_same_plan) {
  const std::vector<std::string> arguments = {"run",   "--driver", "overlay2", "--profile",
                                              "smoke", "--seed",   "7",        "--dry-run"};
  const auto first = run_command(arguments);
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.out, HasSubstr("copy_up.first_write/overlay2/size:"));
  EXPECT_THAT(first.out, HasSubstr("seed 7"));
  EXPECT_EQ(first.out, run_command(arguments).out);
}

TEST(Cli, list_names_every_driver_with_a_reason_where_it_cannot_run) {
  const auto result = run_command({"list"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* name : {"native", "overlay2", "overlay", "aufs", "devicemapper", "btrfs", "zfs", "vfs", "null"}) {
    EXPECT_THAT(result.out, HasSubstr(std::string("  ") + name));
  }
  const auto listed = nlohmann::json::parse(run_command({"list", "--format", "json"}).out);
  for (const auto& driver : listed.at("drivers")) {
    const bool available = driver.at("available").get<bool>();
    // One that runs may say why with this engine, and what would give it the other.
    EXPECT_TRUE(available || !driver.at("reason").get<std::string>().empty()) << driver.at("name");
    EXPECT_TRUE(available || !driver.at("remedy").get<std::string>().empty()) << driver.at("name");
  }
  EXPECT_GE(listed.at("workloads").size(), 10u);
}

TEST(Cli, doctor_says_what_runs_here) {
  const auto result = run_command({"doctor"});
  EXPECT_THAT(result.out, HasSubstr("This machine"));
  EXPECT_THAT(result.out, HasSubstr("overlay2"));
}

TEST(Cli, asking_only_for_what_cannot_run_is_exit_code_5) {
  SKIP_WITHOUT_ROOT();
  const auto nothing = run_command({"run", "--filter", "no-such-case", "--skip-exit", "--progress", "none"});
  EXPECT_EQ(nothing.exit_code, kExitNothingRan);
  EXPECT_THAT(nothing.err, HasSubstr("--filter"));
}

TEST(Cli, without_root_what_takes_a_device_says_so) {
  const auto program = std::string(SBENCH_BINARY);
  if (!testing::is_root()) {
    GTEST_SKIP() << "is not root to begin with: becoming nobody needs root";
  }
  const std::pair<const char*, int> commands[] = {{"run --device /dev/null --output /tmp/never", kExitNothingRan},
                                                  {"run --device /dev/null --skip-exit --output /tmp/never", kExitSkipped},
                                                  {"layer list --store /tmp/never", kExitNothingRan}};
  for (const auto& [command, exit_code] : commands) {
    const auto output =
        run_program({"setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", program + " " + command});
    ASSERT_TRUE(output.ok());
    EXPECT_EQ(output->exit_code, exit_code) << output->stderr_text;
    EXPECT_THAT(output->stderr_text, HasSubstr("sudo"));
    EXPECT_EQ(testing::line_count(output->stderr_text), 1u);
  }
  EXPECT_FALSE(std::filesystem::exists("/tmp/never"));
}

/// A loop device of the test's own, that keeps its image's content between users.
class OwnDevice {
 public:
  explicit OwnDevice(std::uint64_t size_bytes) : device_(Device::make_image("/var/tmp", size_bytes)) {}
  [[nodiscard]] std::string path() const { return (*device_)->path(); }

 private:
  Result<std::unique_ptr<Device>> device_;
};

TEST(Cli, devices_that_are_not_free_are_refused_untouched) {
  SKIP_WITHOUT_ROOT();
  testing::enter_private_namespace();
  const TemporaryFolder folder;
  const OwnDevice device(3 * kGiB);
  const auto run_on = [&](const std::string& path, std::vector<std::string> more = {}, const std::string& input = "") {
    std::vector<std::string> arguments = {
        "run",        "--device", path, "--profile", "smoke", "--output", (folder.path() / "out").string(),
        "--progress", "none"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments, input);
  };
  auto result = run_on((folder.path() / "missing").string());
  EXPECT_EQ(result.exit_code, kExitError);
  EXPECT_THAT(result.err, HasSubstr("cannot find the device"));
  result = run_on("/dev/null");
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("is not a block device"));

  ASSERT_TRUE(run_checked({"mkfs.ext4", "-q", "-F", "-L", "precious", device.path()}).ok());
  const auto superblock = run_checked({"dumpe2fs", "-h", device.path()});
  result = run_on(device.path());
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("carries ext4 labelled 'precious'; add --wipe"));
  result = run_on(device.path(), {"--wipe"}, "/dev/other\n");
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("was not confirmed"));

  const auto mountpoint = folder.path() / "mnt";
  ASSERT_TRUE(make_directories(mountpoint).ok());
  ASSERT_EQ(::mount(device.path().c_str(), mountpoint.c_str(), "ext4", MS_RDONLY, nullptr), 0);
  result = run_on(device.path(), {"--wipe", "--yes"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("is mounted at " + mountpoint.string()));
  ASSERT_EQ(::umount(mountpoint.c_str()), 0);

  const Fd holder(::open(device.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  result = run_on(device.path(), {"--wipe", "--yes"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("is claimed by something that shows itself nowhere"));
  EXPECT_EQ(*run_checked({"dumpe2fs", "-h", device.path()}), *superblock) << "a refused device must not change";
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "out"));
}

TEST(Cli, too_small_a_device_or_image_is_refused) {
  SKIP_WITHOUT_ROOT();
  testing::enter_private_namespace();
  const OwnDevice device(64 * kMiB);
  auto result = run_command({"run", "--device", device.path(), "--yes", "--progress", "none"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("too small"));
  result = run_command({"run", "--image-size", "1M", "--progress", "none"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("--image-size 1M is too small"));
  result = run_command({"run", "--image-dir", "/no/such/folder", "--progress", "none"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("--image-dir"));
}

class RunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_ROOT();
    testing::enter_private_namespace();
  }
  testing::CommandResult run(const std::string& output, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"run",
                                          "--profile",
                                          "smoke",
                                          "--seed",
                                          "5",
                                          "--image-size",
                                          "3G",
                                          "--progress",
                                          "plain",
                                          "--output",
                                          (folder_.path() / output).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  }
  nlohmann::json result(const std::string& output) {
    return nlohmann::json::parse(*read_text(folder_.path() / output / "result.json"));
  }
  TemporaryFolder folder_;
};

TEST_F(RunTest, a_smoke_run_of_two_drivers_writes_result_report_and_table) {
  const auto ran = run("out", {"--driver", "overlay2", "--driver", "btrfs", "--blocks", "2"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("overlay2"));
  const auto document = result("out");
  EXPECT_TRUE(document["sbench"]["complete"]);
  EXPECT_EQ(document["sbench"]["failures"].size(), 0u) << document["sbench"]["failures"].dump(1);
  std::map<std::string, int> samples;
  for (const auto& entry : document["benchmarks"]) {
    ++samples[entry["sbench"]["driver"]];
    EXPECT_GT(entry["real_time"].get<double>(), 0) << entry["name"];
  }
  EXPECT_GT(samples["native"], 0);
  EXPECT_EQ(samples["native"], samples["overlay2"]);
  EXPECT_EQ(samples["overlay2"], samples["btrfs"]);
  for (const auto& driver : document["sbench"]["drivers"]) {
    EXPECT_EQ(driver["semantic_check"], driver["slug"] == "null" ? "not-run" : "passed") << driver.dump(1);
  }
  const auto html = read_text(folder_.path() / "out/report.html");
  ASSERT_TRUE(html.ok());
  EXPECT_THAT(*html, HasSubstr("overlay2"));
  for (const char* reference : {"src=\"http", "href=\"http", "url(http", "@import"}) {
    EXPECT_EQ(html->find(reference), std::string::npos) << "the report must be self-contained: " << reference;
  }
}

/// `answer: …` for a path in a kept container, by driver.
std::map<std::string, std::string> answers(const std::filesystem::path& root, const std::string& container,
                                           const std::string& path) {
  const auto explained = run_program({SBENCH_BINARY, "explain", container, path, "--data-root", root.string()});
  EXPECT_EQ(explained->exit_code, 0) << explained->stderr_text;
  std::map<std::string, std::string> found;
  std::string driver;
  std::istringstream lines(explained->stdout_text);
  for (std::string line; std::getline(lines, line);) {
    driver = line.find(": container ") != std::string::npos ? line.substr(0, line.find(':')) : driver;
    if (line.starts_with("answer: ")) {
      found[driver] = line.substr(8);
    }
  }
  return found;
}

TEST_F(RunTest, keep_leaves_a_data_root_whose_paths_are_explained) {
  const auto root = folder_.path() / "root";
  const auto ran = run(
      "out", {"--driver", "overlay2", "--driver", "vfs", "--workload", "layer_build.remove", "--keep", root.string()});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(read_trimmed("/proc/self/mountinfo"), Not(HasSubstr(root.string())));
  EXPECT_FALSE(std::filesystem::exists(root / "native")) << "it was not asked for";
  int containers = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root / "containers")) {
    ++containers;
    const auto config = nlohmann::json::parse(*read_text(entry.path() / "config.v2.json"));
    const std::filesystem::path images = root / "image" / config["Driver"].get<std::string>();
    const auto image = nlohmann::json::parse(
        *read_text(images / "imagedb/content/sha256" / config["Image"].get<std::string>().substr(7)));
    EXPECT_EQ(sha256_hex(image.dump()), config["Image"].get<std::string>().substr(7));
    std::string chain;
    for (const std::string diff_id : image["rootfs"]["diff_ids"]) {
      const std::string below = chain;
      chain = chain.empty() ? diff_id : "sha256:" + sha256_hex(chain + " " + diff_id);
      EXPECT_EQ(read_trimmed(images / "layerdb/sha256" / chain.substr(7) / "diff"), diff_id);
      EXPECT_EQ(read_trimmed(images / "layerdb/sha256" / chain.substr(7) / "parent"), below);
    }
    EXPECT_EQ(read_trimmed(images / "layerdb/mounts" / config["ID"].get<std::string>() / "parent"), chain);
    const std::string volume = config["MountPoints"]["/data"]["Name"];
    EXPECT_EQ(read_trimmed(root / "volumes" / volume / "_data/journal"), "kept");
  }
  EXPECT_EQ(containers, 4) << "of two applications and two drivers";
  const auto of_image = answers(root, "web", "/srv/app/web.py");
  ASSERT_EQ(of_image.size(), 2u);
  EXPECT_THAT(of_image.at("overlay2"), HasSubstr("step-"));
  EXPECT_EQ(of_image.at("overlay2").substr(0, of_image.at("overlay2").find(';')),
            of_image.at("vfs").substr(0, of_image.at("vfs").find(';')));
  for (const auto& [driver, answer] : answers(root, "worker", "var/log/worker.log")) {
    EXPECT_THAT(answer, HasSubstr("container-")) << driver;
  }
  for (const auto& [driver, answer] : answers(root, "web", "/data/journal")) {
    EXPECT_THAT(answer, HasSubstr("no layer; /data is the volume " + driver + "-web-data's"));
  }
  const auto again = run("out2", {"--driver", "vfs", "--workload", "layer_build.remove", "--keep", root.string()});
  EXPECT_EQ(again.exit_code, kExitUsage);
  EXPECT_THAT(again.err, HasSubstr("is not empty"));
}

TEST_F(RunTest, compare_py_of_google_benchmark_compares_two_drivers_in_the_file) {
  const std::string script = "/usr/share/benchmark/compare.py";
  if (!std::filesystem::exists(script)) {
    GTEST_SKIP() << "libbenchmark-tools is not installed";
  }
  const auto ran = run("out", {"--driver", "overlay2", "--driver", "btrfs", "--workload", "copy_up"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto compared = run_program({"/usr/bin/python3", script, "--no-color", "filters",
                                     (folder_.path() / "out/result.json").string(), "/overlay2/", "/btrfs/"});
  ASSERT_TRUE(compared.ok());
  EXPECT_EQ(compared->exit_code, 0) << compared->stderr_text;
  EXPECT_THAT(compared->stdout_text, HasSubstr("copy_up.first_write[/overlay2/ vs. /btrfs/]"));
}

TEST_F(RunTest, a_finished_part_is_kept_and_the_rest_is_added_by_resume) {
  const std::vector<std::string> arguments = {"--driver", "overlay2", "--workload", "copy_up.first_write",
                                              "--blocks", "2"};
  ASSERT_EQ(run("out", arguments).exit_code, 0);
  // Cut the journal in the middle, as a power cut would.
  const auto lines_path = folder_.path() / "out/run.jsonl";
  const std::string lines = *read_text(lines_path);
  std::ofstream(lines_path, std::ios::trunc) << lines.substr(0, lines.size() * 2 / 3);
  std::filesystem::remove(folder_.path() / "out/result.json");
  const auto resumed = run_command({"run", "--resume", (folder_.path() / "out").string(), "--progress", "none"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const auto document = result("out");
  EXPECT_TRUE(document["sbench"]["complete"]);
  std::map<std::string, int> seen;
  for (const auto& entry : document["benchmarks"]) {
    ++seen[entry["name"]];
  }
  ASSERT_GT(seen.size(), 1u);
  for (const auto& [name, count] : seen) {
    EXPECT_EQ(count, 2) << name;
  }
  EXPECT_EQ(run("out", arguments).exit_code, kExitError) << "a result is never overwritten";
}

TEST_F(RunTest, a_budget_stops_early_and_says_how_to_go_on) {
  const auto ran =
      run("out", {"--driver", "overlay2", "--blocks", "500", "--budget", "2s", "--workload", "copy_up.first_write"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("--resume"));
  EXPECT_FALSE(result("out")["sbench"]["complete"]);
}

TEST_F(RunTest, report_draws_a_stored_result_again) {
  ASSERT_EQ(run("out", {"--driver", "overlay2", "--workload", "copy_up"}).exit_code, 0);
  const auto directory = (folder_.path() / "out").string();
  const auto markdown = run_command({"report", directory, "--format", "markdown"});
  EXPECT_EQ(markdown.exit_code, 0) << markdown.err;
  EXPECT_THAT(markdown.out, HasSubstr("overlay2"));
  const std::string before = *read_text(folder_.path() / "out/report.html");
  EXPECT_EQ(run_command({"report", directory}).exit_code, 0);
  EXPECT_EQ(*read_text(folder_.path() / "out/report.html"), before) << "the same result gives the same bytes";
  EXPECT_EQ(run_command({"report", directory + "/nothing.json"}).exit_code, kExitError);
}

TEST(Cli, compare_and_report_pass_words_exit_codes_and_mistakes_through) {
  const std::string result = std::string(SBENCH_SOURCE_DIR) + "/tests/reports/data/real_smoke_3_blocks.json";
  auto compared = run_command({"compare", result, "--driver", "overlay2", "--driver", "btrfs", "--workload",
                               "layer_build", "--format", "json"});
  ASSERT_EQ(compared.exit_code, kExitRegression) << compared.err << "btrfs writes more bytes in every block";
  const auto document = nlohmann::json::parse(compared.out);
  EXPECT_TRUE(document["paired"]);
  for (const auto& row : document["rows"]) {
    EXPECT_TRUE(row["metric"] != "real_time" || row["verdict"] == "unstable")
        << "three blocks allow no claim about time";
    EXPECT_THAT(row["name"].get<std::string>(), HasSubstr("layer_build."));
  }
  compared = run_command({"compare", result});
  EXPECT_EQ(compared.exit_code, kExitUsage);
  EXPECT_EQ(testing::line_count(compared.err), 1u) << compared.err;
  EXPECT_EQ(run_command({"compare", result, result, "--floor", "much"}).exit_code, kExitUsage);
  const auto table = run_command({"report", result, "--format", "table"});
  EXPECT_EQ(table.exit_code, kExitOk) << table.err;
  EXPECT_EQ(table.out,
            *read_text(std::string(SBENCH_SOURCE_DIR) + "/tests/reports/data/real_smoke_3_blocks.table.txt"));
  expect_usage_error({"report"}, "result");
  expect_usage_error({"report", result, "--format", "pdf"}, "pdf");
  EXPECT_EQ(run_command({"validate", result, "/no/such/file"}).exit_code, kExitError);
}

TEST(LayerFormat, touches_no_image_that_it_did_not_make) {
  SKIP_WITHOUT_ROOT();
  const testing::TemporaryFolder folder;
  const std::filesystem::path store = folder.path() / "store";
  std::filesystem::create_directory(store);
  std::ofstream(folder.path() / "machine.img") << "somebody's machine";
  std::filesystem::create_symlink(folder.path() / "machine.img", store / "device.img");
  const auto format = [&] {
    return run_command({"layer", "format", "--driver", "vfs", "--size", "300M", "--store", store.string()});
  };
  EXPECT_EQ(format().exit_code, kExitError);
  EXPECT_EQ(*read_text(folder.path() / "machine.img"), "somebody's machine");
  std::filesystem::remove(store / "device.img");
  std::ofstream(store / "device.img") << "an image of the same name";
  const auto refused = format();
  EXPECT_EQ(refused.exit_code, kExitError);
  EXPECT_THAT(refused.err, HasSubstr("is there already, and no store of sbench"));
  EXPECT_EQ(*read_text(store / "device.img"), "an image of the same name");
  std::filesystem::remove(store / "device.img");
  std::filesystem::create_directory(store / "store.tmp");  // in the way of the last step
  EXPECT_EQ(format().exit_code, kExitError);
  EXPECT_FALSE(std::filesystem::exists(store / "device.img")) << "a format that failed is in nobody's way";
}

class LayerTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_ROOT();
    testing::enter_private_namespace();
  }
  void TearDown() override {
    if (testing::is_root()) {
      static_cast<void>(run_command({"clean"}));
    }
  }
  testing::CommandResult layer(std::vector<std::string> arguments) {
    // Each call is a process of its own, as a person's would be.
    arguments.insert(arguments.begin(), {SBENCH_BINARY, "layer"});
    arguments.insert(arguments.end(), {"--store", (folder_.path() / "store").string()});
    const auto output = run_program(arguments);
    return {output->exit_code, output->stdout_text, output->stderr_text};
  }
  void expect_ok(const std::vector<std::string>& arguments) {
    const auto result = layer(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments[0] << ": " << result.err;
  }
  TemporaryFolder folder_;
};

TEST_P(LayerTest, a_layer_is_built_mounted_diffed_and_applied_by_hand) {
  expect_ok({"format", "--driver", GetParam(), "--size", "1G"});
  expect_ok({"prepare", "base"});
  const auto mounted = layer({"mount", "base"});
  ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
  const std::filesystem::path tree = mounted.out.substr(0, mounted.out.find('\n'));
  std::ofstream(tree / "hello") << "from a shell";
  EXPECT_EQ(layer({"commit", "base", "base1"}).exit_code, kExitError) << "a mounted layer cannot be committed";
  expect_ok({"unmount", "base"});
  EXPECT_FALSE(std::filesystem::exists(tree / "hello")) << "nothing stays mounted";
  expect_ok({"commit", "base", "base1"});
  expect_ok({"prepare", "app", "--parent", "base1"});
  const auto changes = layer({"changes", "base1"});
  EXPECT_THAT(changes.out, HasSubstr("A hello"));
  const std::string tar = (folder_.path() / "layer.tar").string();
  expect_ok({"diff", "base1", "-o", tar});
  EXPECT_THAT(*run_checked({"tar", "-tf", tar}), HasSubstr("hello"));
  expect_ok({"prepare", "copy"});
  expect_ok({"apply", "copy", tar});
  EXPECT_THAT(layer({"changes", "copy"}).out, HasSubstr("A hello"));
  EXPECT_THAT(layer({"usage", "copy"}).out, HasSubstr("bytes"));
  EXPECT_THAT(layer({"list"}).out, HasSubstr("app on base1"));
  const auto explained = [&](const std::string& path) {
    return run_program({SBENCH_BINARY, "explain", "app", path, "--store", (folder_.path() / "store").string()})
        ->stdout_text;
  };
  EXPECT_THAT(explained("/hello"), HasSubstr("answer: base1; "));
  EXPECT_THAT(explained("/missing"), HasSubstr("answer: it does not exist; no layer has it"));
  EXPECT_EQ(layer({"remove", "base1"}).exit_code, kExitError) << "it has a child";
  expect_ok({"remove", "app"});
  expect_ok({"remove", "base1"});
}

TEST_P(LayerTest, clean_takes_a_kept_mount_down) {
  expect_ok({"format", "--driver", GetParam(), "--size", "1G"});
  expect_ok({"prepare", "c1"});
  ASSERT_EQ(layer({"mount", "c1"}).exit_code, 0);
  EXPECT_EQ(layer({"format", "--driver", GetParam()}).exit_code, kExitError) << "a store in use is not replaced";
  EXPECT_THAT(run_program({"unshare", "--mount", SBENCH_BINARY, "clean"})->stdout_text,
              HasSubstr("left " + (folder_.path() / "store").string()));
  const auto cleaned = run_program({SBENCH_BINARY, "clean"});
  EXPECT_EQ(cleaned->exit_code, 0) << cleaned->stderr_text;
  EXPECT_THAT(cleaned->stdout_text, HasSubstr("unmounted " + (folder_.path() / "store").string()));
  EXPECT_THAT(read_trimmed("/proc/self/mountinfo"), Not(HasSubstr(folder_.path().string())));
  expect_ok({"remove", "c1"});
}

TEST_P(LayerTest, hostile_and_broken_tars_get_one_line) {
  expect_ok({"format", "--driver", GetParam(), "--size", "1G"});
  expect_ok({"prepare", "x"});
  const std::string tar = (folder_.path() / "bad.tar").string();
  std::ofstream(tar) << std::string(700, 'x');
  auto result = layer({"apply", "x", tar});
  EXPECT_EQ(result.exit_code, kExitError);
  EXPECT_EQ(testing::line_count(result.err), 1u) << result.err;
  result = layer({"apply", "nothing", tar});
  EXPECT_EQ(result.exit_code, kExitError);
  EXPECT_THAT(result.err, HasSubstr("nothing"));
}

INSTANTIATE_TEST_SUITE_P(Drivers, LayerTest,
                         ::testing::Values("native", "vfs", "overlay2", "overlay", "btrfs", "devicemapper"),
                         [](const auto& driver) { return driver.param; });

}  // namespace
}  // namespace sbench
