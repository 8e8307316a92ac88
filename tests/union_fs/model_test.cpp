// The union and a plain directory take the same seeded operations and must look the same after each stage.
//
// A stage works in a fresh upper; its upper is the nearest lower branch of the
// next stage, as layers are made. Within a stage the union is opened anew halfway.
// SBENCH_UNION_SEED and SBENCH_UNION_OPERATIONS give a longer run, for example:
//   SBENCH_UNION_SEED=7 SBENCH_UNION_OPERATIONS=20000 build/release/tests/sbench_test_union_fs --gtest_filter='*model*'
#include <linux/fs.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "drivers/base/rng.h"
#include "drivers/base/fd.h"
#include "tests/union_fs/union_test.h"

namespace sbench::testing {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

/// The same operations on a plain directory, errno results.
class PlainCalls {
 public:
  explicit PlainCalls(std::filesystem::path root) : root_(std::move(root)) {}
  int mkdir(const std::string& path, mode_t mode) { return result(::mkdir(at(path).c_str(), mode)); }
  int symlink(const std::string& target, const std::string& path) {
    return result(::symlink(target.c_str(), at(path).c_str()));
  }
  int mknod(const std::string& path, mode_t mode, dev_t device) { return result(::mknod(at(path).c_str(), mode, device)); }
  int link(const std::string& existing, const std::string& path) {
    return result(::link(at(existing).c_str(), at(path).c_str()));
  }
  int unlink(const std::string& path) { return result(::unlink(at(path).c_str())); }
  int rmdir(const std::string& path) { return result(::rmdir(at(path).c_str())); }
  int rename(const std::string& from, const std::string& to, unsigned flags) {
    return result(::renameat2(AT_FDCWD, at(from).c_str(), AT_FDCWD, at(to).c_str(), flags));
  }
  int write(const std::string& path, std::string_view data, std::uint64_t offset, int flags) {
    const Fd fd(::open(at(path).c_str(), O_WRONLY | O_NOFOLLOW | flags, 0644));
    if (!fd.valid()) {
      return errno;
    }
    return ::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)) < 0 ? errno : 0;
  }
  int chmod(const std::string& path, mode_t mode) { return result(::chmod(at(path).c_str(), mode)); }
  int chown(const std::string& path, uid_t uid, gid_t gid) { return result(::lchown(at(path).c_str(), uid, gid)); }
  int truncate(const std::string& path, off_t size) { return result(::truncate(at(path).c_str(), size)); }
  int set_mtime(const std::string& path, std::int64_t seconds) {
    const timespec times[2] = {{0, UTIME_OMIT}, {seconds, 500}};
    return result(::utimensat(AT_FDCWD, at(path).c_str(), times, AT_SYMLINK_NOFOLLOW));
  }
  int set_xattr(const std::string& path, const char* name, std::string_view value) {
    return result(::lsetxattr(at(path).c_str(), name, value.data(), value.size(), 0));
  }
  int list(const std::string& path, std::vector<std::string>& names) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(at(path), error)) {
      names.push_back(entry.path().filename());
    }
    return error.value();
  }
  int remove_xattr(const std::string& path, const char* name) { return result(::lremovexattr(at(path).c_str(), name)); }

 private:
  std::filesystem::path at(const std::string& path) const { return root_ / path; }
  static int result(int value) { return value == 0 ? 0 : errno; }
  std::filesystem::path root_;
};

/// Applies random operations below `base` to both.
class Twins {
 public:
  Twins(FileSystem& fs, const std::filesystem::path& plain, Rng& rng, std::string base, bool hard_links)
      : union_(fs), plain_(plain), rng_(rng), base_(std::move(base)), hard_links_(hard_links) {}

  void step(std::uint64_t number) {
    const std::string one = random_path();
    const std::string two = random_path();
    const auto stamp = static_cast<std::int64_t>(1000000 + number);
    const auto value = static_cast<unsigned>(rng_.below(80000));
    struct stat status {};
    const bool is_regular = union_.stat(one, status) == 0 && S_ISREG(status.st_mode);
    const bool is_link = union_.stat(one, status) == 0 && S_ISLNK(status.st_mode);
    switch (rng_.below(16)) {
      case 0:
        return same("mkdir " + one, union_.mkdir(one, 0755), plain_.mkdir(one, 0755));
      case 1:
      case 2: {
        if (union_.exists(one) && !is_regular) {
          return;
        }
        const std::string data = random_data();
        const int flags = O_CREAT | (rng_.below(2) == 0 ? O_TRUNC : 0);
        const std::uint64_t offset = rng_.below(3) == 0 ? rng_.below(70000) : 0;
        same("write " + one, union_.write(one, data, offset, flags), plain_.write(one, data, offset, flags));
        return same("mtime " + one, union_.set_mtime(one, stamp), plain_.set_mtime(one, stamp));
      }
      case 3:
        return same("unlink " + one, union_.unlink(one), plain_.unlink(one));
      case 4:
        return same("rmdir " + one, union_.rmdir(one), plain_.rmdir(one));
      case 5:
      case 6: {
        const std::uint64_t kind = rng_.below(4);
        const unsigned flags = kind == 0 ? RENAME_NOREPLACE : kind == 1 ? RENAME_EXCHANGE : 0;
        const int code = union_.rename(one, two, flags);
        if (code == EXDEV) {
          return;  // a directory with lower content: the caller would copy
        }
        return same("rename " + one + " " + two + fmt::format(" {}", flags), code, plain_.rename(one, two, flags));
      }
      case 7: {
        if (!hard_links_ || union_.stat(one, status) != 0 || S_ISDIR(status.st_mode)) {
          return;
        }
        return same("link " + one + " " + two, union_.link(one, two), plain_.link(one, two));
      }
      case 14:
      case 15: {  // also makes the union keep the directory in memory
        const std::string directory = PathCalls::split(one).first;
        std::vector<std::string> names;
        std::vector<std::string> of_plain;
        const int code = union_.list(directory, names);
        if (code == plain_.list(directory, of_plain) && code == 0) {
          EXPECT_EQ(std::set(names.begin(), names.end()), std::set(of_plain.begin(), of_plain.end())) << directory;
        }
        return;
      }
      case 8:
        return same("symlink " + one, union_.symlink("target/of/it", one), plain_.symlink("target/of/it", one));
      case 9:
        if (is_link) {
          return;
        }
        return same("chmod " + one, union_.chmod(one, 0600 + value % 64), plain_.chmod(one, 0600 + value % 64));
      case 10:
        return same("chown " + one, union_.chown(one, value % 5, 3), plain_.chown(one, value % 5, 3));
      case 11:
        if (!is_regular) {
          return;
        }
        same("truncate " + one, union_.truncate(one, value), plain_.truncate(one, value));
        return same("mtime " + one, union_.set_mtime(one, stamp), plain_.set_mtime(one, stamp));
      case 12:
        if (!is_regular && !(union_.stat(one, status) == 0 && S_ISDIR(status.st_mode))) {
          return;  // others have no user attributes
        }
        if (rng_.below(3) == 0) {
          return same("remove_xattr " + one, union_.remove_xattr(one, "user.a"), plain_.remove_xattr(one, "user.a"));
        }
        return same("set_xattr " + one, union_.set_xattr(one, "user.a", one), plain_.set_xattr(one, "user.a", one));
      default:
        return same("mknod " + one, union_.mknod(one, S_IFIFO | 0640), plain_.mknod(one, S_IFIFO | 0640, 0));
    }
  }

 private:
  std::string random_path() {
    std::string path = base_;
    for (std::uint64_t depth = 1 + rng_.below(3); depth > 0; --depth) {
      path += (path.empty() ? "" : "/") + std::string(1, static_cast<char>('a' + rng_.below(4)));
    }
    return path;
  }
  std::string random_data() {
    std::string data(rng_.below(4) == 0 ? rng_.below(100000) : rng_.below(100), '\0');
    for (char& c : data) {
      c = static_cast<char>('a' + rng_.below(26));
    }
    return data;
  }
  void same(const std::string& what, int of_union, int of_plain) {
    if (of_plain == EEXIST && of_union == ENOTEMPTY) {
      of_plain = ENOTEMPTY;  // POSIX allows both
    }
    const auto is_no_path = [](int code) { return code == ENOENT || code == ENOTDIR || code == ELOOP; };
    if (is_no_path(of_plain) && is_no_path(of_union)) {
      of_plain = of_union;  // the plain calls follow links on the way and walk two paths in another order
    }
    EXPECT_EQ(of_union, of_plain) << what;
  }

  PathCalls union_;
  PlainCalls plain_;
  Rng& rng_;
  std::string base_;
  bool hard_links_;
};

struct ModelCase {
  UnionDialect dialect;
  bool redirect_dir;
  bool metacopy;
};

class ModelTest : public ::testing::TestWithParam<ModelCase> {};

INSTANTIATE_TEST_SUITE_P(Dialects, ModelTest,
                         ::testing::Values(ModelCase{UnionDialect::aufs, false, false},
                                           ModelCase{UnionDialect::overlay, false, false},
                                           ModelCase{UnionDialect::overlay, true, false},
                                           ModelCase{UnionDialect::overlay, true, true}),
                         [](const auto& test) {
                           return dialect_name({test.param.dialect, 0}) + (test.param.redirect_dir ? "_redirect" : "") +
                                  (test.param.metacopy ? "_metacopy" : "");
                         });

/// Stages as described above; `threads` work on disjoint subtrees.
void run_model(const ModelCase& model, std::uint64_t seed, std::uint64_t operations, unsigned threads) {
  SCOPED_TRACE(fmt::format("seed {} operations {}", seed, operations));
  constexpr std::size_t kStages = 5;
  UnionFolder folder(kStages);
  const std::filesystem::path plain = folder.path("plain");
  std::filesystem::create_directories(plain);
  std::vector<std::filesystem::path> layers;  // nearest first
  for (std::size_t stage = 0; stage < kStages; ++stage) {
    UnionOptions options = folder.options(model.dialect);
    options.redirect_dir = model.redirect_dir;
    options.metacopy = model.metacopy;
    options.lower = layers;
    options.upper = folder.lower(kStages - stage);
    for (int half = 0; half < 2; ++half) {
      FileSystem& fs = folder.open(options);
      std::vector<std::thread> workers;
      for (unsigned thread = 0; thread < threads; ++thread) {
        const std::string base = threads == 1 ? "" : fmt::format("t{}", thread);
        if (!base.empty() && stage == 0 && half == 0) {
          ASSERT_EQ(PathCalls(fs).mkdir(base, 0777), 0);
          std::filesystem::create_directory(plain / base);
        }
        workers.emplace_back([&, base, thread] {
          Rng rng(seed, fmt::format("{}.{}.{}", stage, half, thread));
          Twins twins(fs, plain, rng, base, true);
          for (std::uint64_t i = 0; i < operations / kStages / 2 / threads && !::testing::Test::HasFailure(); ++i) {
            twins.step(stage * 1000000 + i);
          }
        });
      }
      for (auto& worker : workers) {
        worker.join();
      }
      expect_same(describe(plain), describe(fs), fmt::format("stage {} half {}", stage, half));
      if (::testing::Test::HasFailure()) {
        return;
      }
    }
    expect_same(describe(plain), describe(folder.open(options)), fmt::format("after stage {}", stage));
    folder.close();
    layers.insert(layers.begin(), *options.upper);
  }
}

TEST_P(ModelTest, model_of_a_plain_directory) {
  const std::uint64_t seed = from_environment("SBENCH_UNION_SEED", 20261126);
  const std::uint64_t operations = from_environment("SBENCH_UNION_OPERATIONS", 1500);
  for (std::uint64_t i = 0; i < 2 && !HasFailure(); ++i) {
    run_model(GetParam(), seed + i, operations, 1);
  }
}

TEST_P(ModelTest, model_with_threads_on_their_own_subtrees) {
  const std::uint64_t seed = from_environment("SBENCH_UNION_SEED", 20261126);
  run_model(GetParam(), seed, from_environment("SBENCH_UNION_OPERATIONS", 1500), 4);
}

}  // namespace
}  // namespace sbench::testing
