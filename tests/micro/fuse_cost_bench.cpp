// What FUSE costs: the same work on the same cow_fs pool, in process through FileSystem and mounted by drivers/fuse.
//
// Build and run (root; files lie in a temporary folder below /var/tmp):
//   cmake --build build/release --target sbench_micro && build/release/tests/sbench_micro --benchmark_filter=fuse_cost
// The two take turns; the time is the mounted one's. Counters, per operation: `in_process_us`, `mounted_us` and the
// median of the turns' ratios, `times`. What is read is in the pool's cache and not in the kernel's.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>

#include "drivers/cow_fs/pool_files.h"
#include "drivers/fuse/server_process.h"
#include "tests/micro/cow_fs_bed.h"

namespace sbench::cow_fs {
namespace {

constexpr std::uint64_t kFiles = 2000;
constexpr std::uint64_t kLargeBytes = 64 * kMiB;
constexpr std::uint64_t kWrites = 200;

/// Where the work is done; names are relative to the dataset's root.
class Way {
 public:
  virtual ~Way() = default;
  virtual void create(const std::string& name, const Bytes& content) = 0;
  virtual void look(const std::string& name) = 0;
  /// 1 MiB at a time.
  virtual void read_large() = 0;
  /// The same, with a sync at the end.
  virtual void write_large(const Bytes& piece) = 0;
  virtual void overwrite_and_sync(std::uint64_t offset, const Bytes& content) = 0;
  /// What the kernel knows is forgotten.
  virtual void forget() {}
};

class InProcess final : public Way {
 public:
  explicit InProcess(FileSystem& files) : files_(files) { open("large"); }
  ~InProcess() override { files_.release(node_, handle_); }
  void create(const std::string& name, const Bytes& content) override {
    const auto made = must(files_.create({}, kRootNode, name, 0644, O_RDWR));
    must(files_.write(made.entry.node, made.file.handle, content, 0));
    files_.release(made.entry.node, made.file.handle);
    files_.forget(made.entry.node, 1);
  }
  void look(const std::string& name) override { files_.forget(must(files_.lookup(kRootNode, name)).node, 1); }
  void read_large() override {
    Bytes memory(kPiece);
    for (std::uint64_t at = 0; at < kLargeBytes; at += kPiece) {
      SBENCH_CHECK(must(files_.read(node_, handle_, memory, at)) == kPiece);
    }
  }
  void write_large(const Bytes& piece) override {
    for (std::uint64_t at = 0; at < kLargeBytes; at += kPiece) {
      SBENCH_CHECK(must(files_.write(node_, handle_, piece, at)) == kPiece);
    }
    must(files_.sync_file(node_, handle_, false));
  }
  void overwrite_and_sync(std::uint64_t offset, const Bytes& content) override {
    must(files_.write(node_, handle_, content, offset));
    must(files_.sync_file(node_, handle_, false));
  }

 private:
  void open(const std::string& name) {
    const auto found = files_.lookup(kRootNode, name);
    const auto made = found.ok() ? FileSystem::Created{*found, must(files_.open(found->node, O_RDWR))}
                                 : must(files_.create({}, kRootNode, name, 0644, O_RDWR));
    node_ = made.entry.node;
    handle_ = made.file.handle;
  }

  FileSystem& files_;
  NodeId node_ = 0;
  HandleId handle_ = 0;
};

class Mounted final : public Way {
 public:
  explicit Mounted(const std::string& root) : root_(root + "/d/"), fd_(::open((root_ + "large").c_str(), O_RDWR | O_CREAT, 0644)) {
    SBENCH_CHECK(fd_.get() >= 0);
  }
  void create(const std::string& name, const Bytes& content) override {
    const Fd fd(::open((root_ + name).c_str(), O_RDWR | O_CREAT | O_EXCL, 0644));
    SBENCH_CHECK(fd.get() >= 0 && ::write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  }
  void look(const std::string& name) override {
    struct stat status {};
    SBENCH_CHECK(::lstat((root_ + name).c_str(), &status) == 0);
  }
  void read_large() override {
    Bytes memory(kPiece);
    for (std::uint64_t at = 0; at < kLargeBytes; at += kPiece) {
      SBENCH_CHECK(::pread(fd_.get(), memory.data(), kPiece, static_cast<off_t>(at)) == static_cast<ssize_t>(kPiece));
    }
  }
  void write_large(const Bytes& piece) override {
    for (std::uint64_t at = 0; at < kLargeBytes; at += kPiece) {
      SBENCH_CHECK(::pwrite(fd_.get(), piece.data(), kPiece, static_cast<off_t>(at)) == static_cast<ssize_t>(kPiece));
    }
    SBENCH_CHECK(::fsync(fd_.get()) == 0);
  }
  void overwrite_and_sync(std::uint64_t offset, const Bytes& content) override {
    SBENCH_CHECK(::pwrite(fd_.get(), content.data(), content.size(), static_cast<off_t>(offset)) ==
                     static_cast<ssize_t>(content.size()) &&
                 ::fsync(fd_.get()) == 0);
  }
  void forget() override {
    const Fd fd(::open("/proc/sys/vm/drop_caches", O_WRONLY));
    SBENCH_CHECK(::write(fd.get(), "3", 1) == 1);
  }

 private:
  std::string root_;
  Fd fd_;
};

enum Case : std::int64_t { kLook, kCreate, kRead, kWrite, kOverwrite };

/// Microseconds an operation.
double time_of(Way& way, std::int64_t what, int turn) {
  static const Bytes small = noise(kKiB);
  static const Bytes page = noise(4 * kKiB);
  static const Bytes piece = noise(kPiece);
  const auto names = [&](int of) {
    for (std::uint64_t i = 0; i < kFiles; ++i) {
      way.create(fmt::format("t{}-{}", of, i), small);
    }
  };
  if (what == kLook) {
    names(turn);
    for (std::uint64_t i = 0; i < kFiles; ++i) {
      way.look(fmt::format("t{}-{}", turn, i));
    }
  } else if (what == kRead) {
    way.write_large(piece);
    way.read_large();
  } else if (what == kOverwrite) {
    way.write_large(piece);
  }
  way.forget();
  const auto begin = Clock::now();
  std::uint64_t operations = kLargeBytes / kPiece;
  if (what == kLook) {
    operations = kFiles;
    for (std::uint64_t i = 0; i < kFiles; ++i) {
      way.look(fmt::format("t{}-{}", turn, i));
    }
  } else if (what == kCreate) {
    operations = kFiles;
    names(turn);
  } else if (what == kRead) {
    way.read_large();
  } else if (what == kWrite) {
    way.write_large(piece);
  } else {
    operations = kWrites;
    for (std::uint64_t i = 0; i < kWrites; ++i) {
      way.overwrite_and_sync(i * 2654435761U % (kLargeBytes / page.size()) * page.size(), page);
    }
  }
  return seconds_since(begin) * 1e6 / static_cast<double>(operations);
}

void fuse_cost(benchmark::State& state) {
  constexpr const char* kNames[] = {"stat of a new name", "create with 1 KiB", "read 1 MiB", "write 1 MiB", "overwrite 4 KiB, fsync"};
  Bed inside(512 * kMiB, 0);
  Bed below(512 * kMiB, 0);
  FileSystem& files = inside.format();
  below.format();
  const std::string pool = below.leave();
  const std::string mount = below.path() + "/mount";
  SBENCH_CHECK(::mkdir(mount.c_str(), 0755) == 0);
  fuse::ServerOptions options;
  options.session.name = "fuse-cost";
  options.session.passthrough = false;
  const auto server = must(fuse::ServerProcess::start(mount, options, [pool]() -> Result<std::unique_ptr<FileSystem>> {
    SBENCH_TRY_SET(auto io, DirectDevice::open(pool));
    OpenOptions quiet;
    quiet.commit_interval_ms = 0;
    SBENCH_TRY_SET(auto opened, Pool::open(*io, quiet));
    return std::unique_ptr<FileSystem>(new PoolFiles(std::move(io), std::move(opened), {}));
  }));
  std::vector<double> in_process, mounted, times;
  {
    InProcess first(files);
    Mounted second(mount);
    int turn = 0;
    for (auto _ : state) {
      in_process.push_back(time_of(first, state.range(0), turn));
      mounted.push_back(time_of(second, state.range(0), turn++));
      times.push_back(mounted.back() / in_process.back());
      state.SetIterationTime(mounted.back() / 1e6);
    }
  }
  must(server->stop());
  const auto median = [](std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  state.counters["in_process_us"] = median(in_process);
  state.counters["mounted_us"] = median(mounted);
  state.counters["times"] = median(times);
  state.SetLabel(kNames[state.range(0)]);
}
BENCHMARK(fuse_cost)->DenseRange(kLook, kOverwrite)->Iterations(9)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sbench::cow_fs
