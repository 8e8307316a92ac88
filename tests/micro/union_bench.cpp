// What the union engine's own steps cost, in process and without FUSE.
//
// Build and run (root; branches lie in a temporary folder below /var/tmp):
//   cmake --build build/release --target sbench_micro && build/release/tests/sbench_micro
// Times are per call. The operating system's share (openat, fstatat, …) is part of them: these are the costs
// a FUSE request meets.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "drivers/base/check.h"
#include "drivers/base/file.h"
#include "drivers/union_fs/union_fs.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// Branches in a temporary folder, and the union over them.
class Bed {
 public:
  explicit Bed(std::size_t lowers) : lowers_(lowers) {
    ::umask(0);
    path_ = make_unique_directory("/var/tmp/sbench-micro-").value();
    for (std::size_t i = 1; i <= lowers; ++i) {
      fs::create_directories(lower(i) / "d");
    }
    fs::create_directories(path_ / "upper");
    fs::create_directories(path_ / "work");
  }
  ~Bed() {
    union_.reset();
    static_cast<void>(remove_tree(path_));
  }
  Bed(const Bed&) = delete;
  Bed& operator=(const Bed&) = delete;

  [[nodiscard]] fs::path lower(std::size_t number) const { return path_ / fmt::format("lower{}", number); }
  FileSystem& open(UnionDialect dialect, std::size_t cache_bytes = 32u << 20) {
    UnionOptions options;
    options.dialect = dialect;
    for (std::size_t i = 1; i <= lowers_; ++i) {
      options.lower.push_back(lower(i));
    }
    options.upper = path_ / "upper";
    if (dialect == UnionDialect::overlay) {
      options.work = path_ / "work";
    }
    options.sync = UnionSync::unordered;
    options.directory_cache_bytes = cache_bytes;
    auto opened = open_union(options);
    SBENCH_CHECK(opened.ok());
    union_ = std::move(opened).value();
    return *union_;
  }

 private:
  fs::path path_;
  std::size_t lowers_;
  std::unique_ptr<FileSystem> union_;
};

void make_files(const fs::path& directory, std::size_t count, std::size_t size = 0, const char* prefix = "f") {
  fs::create_directories(directory);
  for (std::size_t i = 0; i < count; ++i) {
    std::ofstream(directory / fmt::format("{}{}", prefix, i)) << std::string(size, 'x');
  }
}

NodeId node_of(FileSystem& files, NodeId parent, std::string_view name) {
  auto entry = files.lookup(parent, name);
  SBENCH_CHECK(entry.ok());
  return entry.value().node;
}

UnionDialect dialect_of(const benchmark::State& state) {
  return state.range(0) == 0 ? UnionDialect::aufs : UnionDialect::overlay;
}

/// A name that only the deepest branch has: {dialect, branches}.
void lookup_against_depth(benchmark::State& state) {
  Bed bed(static_cast<std::size_t>(state.range(1)));
  make_files(bed.lower(static_cast<std::size_t>(state.range(1))) / "d", 100);
  FileSystem& files = bed.open(dialect_of(state));
  const NodeId directory = node_of(files, kRootNode, "d");
  std::size_t i = 0;
  for (auto _ : state) {
    auto entry = files.lookup(directory, fmt::format("f{}", i++ % 100));
    SBENCH_CHECK(entry.ok());
    files.forget(entry.value().node, 1);
  }
  state.SetLabel(state.range(0) == 0 ? "aufs" : "overlay");
}
BENCHMARK(lookup_against_depth)->ArgsProduct({{0, 1}, {1, 8, 32, 127, 500}});

/// A name that no branch has: {dialect, branches}.
void missing_name_against_depth(benchmark::State& state) {
  Bed bed(static_cast<std::size_t>(state.range(1)));
  FileSystem& files = bed.open(dialect_of(state));
  const NodeId directory = node_of(files, kRootNode, "d");
  std::size_t i = 0;
  for (auto _ : state) {
    SBENCH_CHECK(!files.lookup(directory, fmt::format("f{}", i++ % 100)).ok());
  }
  state.SetLabel(state.range(0) == 0 ? "aufs" : "overlay");
}
BENCHMARK(missing_name_against_depth)->ArgsProduct({{0, 1}, {1, 8, 32, 127, 500}});

/// Reading a directory of 1000 names spread over the branches: {dialect, branches, cached}.
void merged_readdir(benchmark::State& state) {
  const auto branches = static_cast<std::size_t>(state.range(1));
  Bed bed(branches);
  for (std::size_t i = 1; i <= branches; ++i) {
    make_files(bed.lower(i) / "d", 1000 / branches, 0, fmt::format("b{}-", i).c_str());
  }
  // A cache of no bytes forgets the directory as soon as another is read.
  FileSystem& files = bed.open(dialect_of(state), state.range(2) != 0 ? 32u << 20 : 0);
  const NodeId directory = node_of(files, kRootNode, "d");
  const auto read_all = [&](NodeId node) {
    auto handle = files.open_directory(node);
    SBENCH_CHECK(handle.ok());
    std::size_t names = 0;
    SBENCH_CHECK(files.read_directory(node, *handle, 0, [&](const DirectoryEntry&) { return ++names > 0; }).ok());
    files.release_directory(node, *handle);
    return names;
  };
  std::size_t names = 0;
  for (auto _ : state) {
    if (state.range(2) == 0) {
      read_all(kRootNode);
    }
    names += read_all(directory);
  }
  SBENCH_CHECK(names > 0);
  state.SetItemsProcessed(static_cast<std::int64_t>(names));
  state.SetLabel(std::string(state.range(0) == 0 ? "aufs" : "overlay") + (state.range(2) != 0 ? " cached" : " read"));
}
BENCHMARK(merged_readdir)->ArgsProduct({{0, 1}, {2, 16, 127}, {0, 1}});

/// Lookups of names that whiteouts hide; half of 1000 names: {dialect}.
void whiteout_checks(benchmark::State& state) {
  Bed bed(2);
  make_files(bed.lower(1) / "d", 1000);
  FileSystem& files = bed.open(dialect_of(state));
  const NodeId directory = node_of(files, kRootNode, "d");
  for (std::size_t i = 0; i < 1000; i += 2) {
    SBENCH_CHECK(files.unlink(directory, fmt::format("f{}", i)).ok());
  }
  std::size_t i = 0;
  for (auto _ : state) {
    auto entry = files.lookup(directory, fmt::format("f{}", i % 1000));
    SBENCH_CHECK(entry.ok() == (i % 2 == 1));
    if (entry.ok()) {
      files.forget(entry.value().node, 1);
    }
    i += 1;
  }
  state.SetLabel(state.range(0) == 0 ? "aufs" : "overlay");
}
BENCHMARK(whiteout_checks)->Arg(0)->Arg(1);

/// Putting whiteouts: unlink of lower files: {dialect}.
void unlink_lower(benchmark::State& state) {
  constexpr std::size_t kFiles = 2000;
  for (auto _ : state) {
    state.PauseTiming();
    {
      Bed bed(1);
      make_files(bed.lower(1) / "d", kFiles);
      FileSystem& files = bed.open(dialect_of(state));
      const NodeId directory = node_of(files, kRootNode, "d");
      state.ResumeTiming();
      for (std::size_t i = 0; i < kFiles; ++i) {
        SBENCH_CHECK(files.unlink(directory, fmt::format("f{}", i)).ok());
      }
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kFiles));
  state.SetLabel(state.range(0) == 0 ? "aufs" : "overlay");
}
BENCHMARK(unlink_lower)->Arg(0)->Arg(1)->Iterations(3)->Unit(benchmark::kMillisecond);

/// Opening lower files for writing: {dialect, bytes}.
void copy_up(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(1));
  const std::size_t count = size > (1u << 20) ? 4 : 64;
  for (auto _ : state) {
    state.PauseTiming();
    {
      Bed bed(1);
      make_files(bed.lower(1) / "d", count, size);
      FileSystem& files = bed.open(dialect_of(state));
      const NodeId directory = node_of(files, kRootNode, "d");
      state.ResumeTiming();
      for (std::size_t i = 0; i < count; ++i) {
        const NodeId node = node_of(files, directory, fmt::format("f{}", i));
        auto file = files.open(node, O_RDWR);
        SBENCH_CHECK(file.ok());
        files.release(node, file.value().handle);
        files.forget(node, 1);
      }
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * size));
  state.SetLabel(state.range(0) == 0 ? "aufs" : "overlay");
}
BENCHMARK(copy_up)
    ->ArgsProduct({{0, 1}, {0, 4096, 1 << 20, 64 << 20}})
    ->Iterations(3)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// New small files: {dialect, in a merged directory}.
void create_small(benchmark::State& state) {
  Bed bed(2);
  FileSystem& files = bed.open(dialect_of(state));
  NodeId directory = kRootNode;
  if (state.range(1) != 0) {
    directory = node_of(files, kRootNode, "d");
  } else {
    auto made = files.make_directory({}, kRootNode, "new", 0755);
    SBENCH_CHECK(made.ok());
    directory = made.value().node;
  }
  std::size_t i = 0;
  for (auto _ : state) {
    auto made = files.create({}, directory, fmt::format("n{}", i++), 0644, O_RDWR);
    SBENCH_CHECK(made.ok());
    files.release(made.value().entry.node, made.value().file.handle);
    files.forget(made.value().entry.node, 1);
  }
  state.SetLabel(std::string(state.range(0) == 0 ? "aufs" : "overlay") + (state.range(1) != 0 ? " merged" : " new"));
}
BENCHMARK(create_small)->ArgsProduct({{0, 1}, {0, 1}});

}  // namespace
}  // namespace sbench

BENCHMARK_MAIN();
