// uml_test.cpp: what needs another kernel than this one: user-mode Linux, booted as an ordinary user.
//
// Conformance and physical truth of the real dm-thin, a smoke run with --in uml, and what
// is left after signals: nothing. Skipped aloud where linux.uml is not installed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/guest/uml.h"
#include "tests/support/support.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::TemporaryFolder;

constexpr unsigned kOrdinaryUser = 65534;

#define SKIP_WITHOUT_UML()                                     \
  if (const Availability uml = probe_uml(); !uml.available) { \
    GTEST_SKIP() << uml.reason << "; " << uml.remedy;          \
  }

/// Runs a shell script inside, on a scratch disk that is /var/tmp there.
struct GuestOutcome {
  int code = -1;
  std::string text;
};

GuestOutcome run_script(const std::string& script, std::uint64_t limit_s) {
  const TemporaryFolder folder;
  const fs::path image = folder.path() / "disk";
  std::ofstream(image).close();
  fs::resize_file(image, 6 * kGiB);
  GuestJob job;
  job.init = SBENCH_BINARY;
  job.argv = {"/bin/sh", "-c", script};
  job.environment = {{"DM_DISABLE_UDEV", "1"}, {"SBENCH", SBENCH_BINARY}};
  job.modules = uml_modules();
  job.visible = {SBENCH_SOURCE_DIR};
  job.disks = {image};
  job.time_limit_s = limit_s;
  GuestOutcome outcome;
  const auto append = [&outcome](std::string_view text) { outcome.text += text; };
  const auto code = run_in_uml(job, {append, append});
  outcome.code = code.ok() ? *code : -1;
  outcome.text += code.ok() ? "" : code.error().what;
  return outcome;
}

constexpr const char* kScratch = "mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/ubda && "
                                 "mount /dev/ubda /var/tmp && ";

std::string beside(const char* program) { return (fs::read_symlink("/proc/self/exe").parent_path() / program).string(); }

TEST(Uml, the_real_dm_thin_passes_conformance) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script(std::string(kScratch) + beside("sbench_test_conformance") +
                                      " --gtest_filter='*Conformance*/devicemapper:*Content*/devicemapper'",
                                  600);
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("[  PASSED  ]"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("PASSED  ] 0 tests")));
  std::printf("%s\n", outcome.text.substr(outcome.text.rfind("[===")).c_str());
}

TEST(Uml, the_real_dm_thin_copies_a_chunk_at_a_first_write) {
  SKIP_WITHOUT_UML();
  const auto outcome = run_script(std::string(kScratch) + beside("sbench_test_drivers") + " --gtest_filter='*ThinTruth*'", 300);
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_THAT(outcome.text, ::testing::HasSubstr("dm-thin 64K: first write"));
  EXPECT_THAT(outcome.text, ::testing::Not(::testing::HasSubstr("SKIPPED")));
  std::printf("%s\n", outcome.text.c_str());
}

}  // namespace
}  // namespace sbench
