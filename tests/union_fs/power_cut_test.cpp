// Power cuts around copy-ups of the overlay dialect, on file systems whose order the engine relies on.
#include <sys/mount.h>

#include <fstream>

#include "drivers/base/fd.h"
#include "drivers/base/process.h"
#include "tests/union_fs/union_test.h"

namespace sbench::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileBytes = 2'000'000;
constexpr int kFiles = 3;

std::string content_of(int number) {
  std::string data(kFileBytes, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>('a' + (i / 7 + static_cast<std::size_t>(number)) % 26);
  }
  return data;
}

/// An image file mounted through a loop device; what has reached the device is in the image.
class Disk {
 public:
  Disk(fs::path image, fs::path at, const std::string& options) : at_(std::move(at)) {
    fs::create_directories(at_);
    const auto mounted = run_checked({"mount", "-o", "loop" + options, image, at_});
    EXPECT_TRUE(mounted.ok()) << (mounted.ok() ? "" : mounted.error().what);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk() { ::umount2(at_.c_str(), 0); }

 private:
  fs::path at_;
};

class PowerCut : public ::testing::TestWithParam<const char*> {};

TEST_P(PowerCut, leaves_the_lower_file_or_all_of_its_copy) {
  if (!is_root()) {
    GTEST_SKIP() << "mounting needs root";
  }
  enter_private_namespace();
  const TemporaryFolder folder;
  const fs::path image = folder.path() / "image";
  const std::string type = GetParam();
  put_file(image, "");
  fs::resize_file(image, 320u << 20);
  ASSERT_TRUE(run_checked({"mkfs." + type, "-q", image}).ok());
  const fs::path at = folder.path() / "device";
  const Disk disk(image, at, "");
  for (const char* name : {"lower", "upper", "work"}) {
    fs::create_directories(at / name);
  }
  for (int i = 0; i < kFiles; ++i) {
    put_file(at / "lower" / std::to_string(i), content_of(i));
  }
  ASSERT_TRUE(run_checked({"sync", "--file-system", at}).ok());
  UnionOptions options;
  options.lower = {at / "lower"};
  options.upper = at / "upper";
  options.work = at / "work";
  auto opened = open_union(options);
  ASSERT_TRUE(opened.ok());
  PathCalls calls(**opened);
  int copies = 0;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(calls.write(std::to_string(i), "", 0, 0), 0);
    put_file(at / "other", "x");
    const Fd other = Fd(::open((at / "other").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::fsync(other.get()), 0) << "what the journal holds so far is on the device";
    const fs::path after = folder.path() / "after";  // the power is cut here
    ASSERT_TRUE(run_checked({"cp", "--sparse=always", image, after}).ok());
    const Disk reopened(after, folder.path() / "reopened", type == "xfs" ? ",nouuid" : "");
    for (int k = 0; k <= i; ++k) {
      const fs::path copy = folder.path() / "reopened/upper" / std::to_string(k);
      if (fs::exists(copy)) {
        ++copies;
        std::ifstream file(copy);
        const std::string data((std::istreambuf_iterator<char>(file)), {});
        EXPECT_TRUE(data == content_of(k)) << "copy " << k << " of cut " << i << " has " << data.size() << " bytes";
      }
    }
  }
  EXPECT_GE(copies, kFiles) << "the journal was committed after every copy-up";
}

INSTANTIATE_TEST_SUITE_P(Journals, PowerCut, ::testing::Values("ext4", "xfs"),
                         [](const auto& journal) { return std::string(journal.param); });

}  // namespace
}  // namespace sbench::testing
