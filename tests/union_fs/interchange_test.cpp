// What the overlay dialect writes means the same to the kernel's overlayfs, and the other way round.
//
// Random operations through one of them, then the other shows the tree; both directions, over two stages, so the
// second works on what the other left: whiteouts, opaque directories, redirects, metacopy, origins.
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <fstream>

#include "drivers/base/fd.h"
#include "drivers/base/rng.h"
#include "tests/union_fs/union_test.h"

namespace sbench::testing {
namespace {

struct Kind {
  bool redirect_dir;
  bool metacopy;
};

class Interchange : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (!is_root()) {
      GTEST_SKIP() << "mounting overlayfs needs root";
    }
    enter_private_namespace();
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, Interchange, ::testing::Values(Kind{false, false}, Kind{true, false}, Kind{true, true}),
                         [](const auto& test) {
                           return std::string(test.param.metacopy ? "redirect_metacopy"
                                              : test.param.redirect_dir ? "redirect" : "plain");
                         });

/// The kernel's union over the same branches, for the length of a scope.
class KernelUnion {
 public:
  KernelUnion(const UnionFolder& folder, const UnionOptions& options) : merged_(folder.path("merged")) {
    std::string data;
    for (const auto& lower : options.lower) {
      data += (data.empty() ? "lowerdir=" : ":") + lower.string();
    }
    data += ",upperdir=" + options.upper->string() + ",workdir=" + options.work->string();
    data += std::string(",redirect_dir=") + (options.redirect_dir ? "on" : "off");
    data += std::string(",metacopy=") + (options.metacopy ? "on" : "off") + ",index=off,xino=off";
    if (::mount("overlay", merged_.c_str(), "overlay", 0, data.c_str()) != 0) {
      error_ = errno;
    }
  }
  ~KernelUnion() { ::umount2(merged_.c_str(), MNT_DETACH); }
  KernelUnion(const KernelUnion&) = delete;
  KernelUnion& operator=(const KernelUnion&) = delete;
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] const std::filesystem::path& path() const { return merged_; }

 private:
  std::filesystem::path merged_;
  int error_ = 0;
};

/// One random operation by plain system calls below `root`; a failure is as good as a success here.
void step_kernel(const std::filesystem::path& root, Rng& rng) {
  const auto random_path = [&] {
    std::string path;
    for (std::uint64_t depth = 1 + rng.below(3); depth > 0; --depth) {
      path += "/" + std::string(1, static_cast<char>('a' + rng.below(4)));
    }
    return root.string() + path;
  };
  const std::string one = random_path();
  const std::string two = random_path();
  switch (rng.below(10)) {
    case 0:
    case 1:
      ::mkdir(one.c_str(), 0755);
      break;
    case 2:
    case 3: {
      const Fd fd(::open(one.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644));
      const std::string data(rng.below(5000), static_cast<char>('a' + rng.below(26)));
      if (fd.valid() && ::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(rng.below(3000))) < 0) {
        return;
      }
      break;
    }
    case 4:
      ::unlink(one.c_str());
      break;
    case 5:
      ::rmdir(one.c_str());
      break;
    case 6:
    case 7:
      ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, two.c_str(), rng.below(3) == 0 ? RENAME_EXCHANGE : 0);
      break;
    case 8:
      ::chmod(one.c_str(), 0600 + static_cast<mode_t>(rng.below(64)));
      break;
    default:
      if (::symlink("there", one.c_str()) != 0) {
        ::lchown(one.c_str(), 7, 8);
      }
  }
}

/// The same kind of operation through the union.
void step_union(FileSystem& fs, Rng& rng) {
  PathCalls calls(fs);
  const auto random_path = [&] {
    std::string path;
    for (std::uint64_t depth = 1 + rng.below(3); depth > 0; --depth) {
      path += (path.empty() ? "" : "/") + std::string(1, static_cast<char>('a' + rng.below(4)));
    }
    return path;
  };
  const std::string one = random_path();
  const std::string two = random_path();
  struct stat status {};
  switch (rng.below(10)) {
    case 0:
    case 1:
      calls.mkdir(one);
      break;
    case 2:
    case 3:
      if (!calls.exists(one) || (calls.stat(one, status) == 0 && S_ISREG(status.st_mode))) {
        calls.write(one, std::string(rng.below(5000), static_cast<char>('a' + rng.below(26))), rng.below(3000), O_CREAT);
      }
      break;
    case 4:
      calls.unlink(one);
      break;
    case 5:
      calls.rmdir(one);
      break;
    case 6:
    case 7:
      calls.rename(one, two, rng.below(3) == 0 ? RENAME_EXCHANGE : 0);
      break;
    case 8:
      if (calls.stat(one, status) == 0 && !S_ISLNK(status.st_mode)) {
        calls.chmod(one, 0600 + static_cast<mode_t>(rng.below(64)));
      }
      break;
    default:
      if (calls.symlink("there", one) != 0) {
        calls.chown(one, 7, 8);
      }
  }
}

TEST_P(Interchange, kernel_and_union_read_each_others_branches) {
  for (std::uint64_t seed = 1; seed <= 6 && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    constexpr std::size_t kStages = 4;
    UnionFolder folder(kStages + 1);
    put_file(folder.lower(kStages + 1) / "a/b/c", "base");
    put_file(folder.lower(kStages + 1) / "b/a", std::string(20000, 'x'));
    put_file(folder.lower(kStages + 1) / "c", "file");
    UnionOptions options = folder.options(UnionDialect::overlay);
    options.redirect_dir = GetParam().redirect_dir;
    options.metacopy = GetParam().metacopy;
    std::vector<std::filesystem::path> layers{folder.lower(kStages + 1)};
    for (std::size_t stage = 0; stage < kStages && !HasFailure(); ++stage) {
      options.lower = layers;
      options.upper = folder.lower(kStages - stage);
      Rng rng(seed, fmt::format("stage {}", stage));
      for (int half = 0; half < 2; ++half) {
        const bool by_kernel = (stage + static_cast<std::size_t>(half)) % 2 == 0;
        if (by_kernel) {
          const KernelUnion kernel(folder, options);
          ASSERT_EQ(kernel.error(), 0);
          for (int i = 0; i < 60; ++i) {
            step_kernel(kernel.path(), rng);
          }
        } else {
          FileSystem& fs = folder.open(options);
          for (int i = 0; i < 60; ++i) {
            step_union(fs, rng);
          }
          folder.close();
        }
        std::map<std::string, std::string> of_kernel;
        {
          const KernelUnion kernel(folder, options);
          ASSERT_EQ(kernel.error(), 0);
          of_kernel = describe(kernel.path());
        }
        const auto of_union = describe(folder.open(options));
        folder.close();
        expect_same(of_kernel, of_union,
                    fmt::format("stage {} half {} written by the {}", stage, half, by_kernel ? "kernel" : "union"));
      }
      layers.insert(layers.begin(), *options.upper);
    }
  }
}

TEST_P(Interchange, inode_numbers_are_the_kernels) {
  UnionFolder folder(1);
  put_file(folder.lower(1) / "d/f", "data");
  UnionOptions options = folder.options(UnionDialect::overlay);
  options.redirect_dir = GetParam().redirect_dir;
  options.metacopy = GetParam().metacopy;
  struct stat before {};
  struct stat by_union {};
  struct stat by_kernel {};
  {
    PathCalls calls(folder.open(options));
    ASSERT_EQ(calls.stat("d/f", before), 0);
    ASSERT_EQ(calls.chmod("d/f", 0600), 0);
    folder.close();
  }
  {
    PathCalls calls(folder.open(options));
    ASSERT_EQ(calls.stat("d/f", by_union), 0);
    folder.close();
  }
  const KernelUnion kernel(folder, options);
  ASSERT_EQ(kernel.error(), 0);
  ASSERT_EQ(::stat((kernel.path() / "d/f").c_str(), &by_kernel), 0);
  EXPECT_EQ(by_union.st_ino, before.st_ino);
  EXPECT_EQ(by_kernel.st_ino, before.st_ino);
}

}  // namespace
}  // namespace sbench::testing
