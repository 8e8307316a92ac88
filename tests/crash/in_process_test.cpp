// in_process_test.cpp: the engines' own interfaces under several threads, their devices' writes cut and checked.
//
// No kernel, no FUSE: thousands of cuts cost little. Longer, by hand: SBENCH_TEST_ROUNDS=20 sbench_test_crash
// --gtest_filter='InProcess*': as many histories, from SBENCH_TEST_SEED on, and every cut of each.
#include <thread>

#include "drivers/base/file.h"
#include "drivers/thin_pool/check.h"
#include "drivers/thin_pool/pool.h"
#include "tests/cow_fs/pool_test.h"
#include "tests/crash/expectation.h"
#include "tests/crash/recording_io.h"
#include "tests/crash/replay.h"
#include "tests/support/support.h"

namespace sbench::crash {
namespace {

using test::must;

constexpr int kThreads = 3;
constexpr std::size_t kShortCuts = 15;

/// Calls `check` with what the device holds after each cut, until one fails.
void for_each_cut(const WriteLog& log, std::uint64_t size_bytes, std::uint64_t seed,
                  const std::function<void(MemoryDevice& after, std::size_t at)>& check) {
  const testing::TemporaryFolder folder;
  Replay replay = must(Replay::begin(log, folder.path(), size_bytes, 512));
  auto cuts = choose_cuts(log, log.find_mark("begun"), 60, seed);
  cuts = cow_fs::test_rounds(1) > 1 ? cuts : thin_out(cuts, kShortCuts);
  for (const Cut& cut : cuts) {
    SCOPED_TRACE(fmt::format("SBENCH_TEST_SEED={} cut {}", seed, cut.text()));
    std::filesystem::remove(folder.path() / "cut");  // ext4 writes out what replaces the content of a file
    must(replay.make(cut, folder.path() / "cut"));
    std::vector<std::byte> content(size_bytes);
    const Fd file = must(open_file(folder.path() / "cut", O_RDONLY));
    ASSERT_EQ(::pread(file.get(), content.data(), content.size(), 0), static_cast<ssize_t>(size_bytes));
    MemoryDevice after(std::move(content));
    check(after, cut.at);
    if (::testing::Test::HasFailure()) {
      return;
    }
  }
  std::printf("seed %llu: %zu records, %zu cuts\n", static_cast<unsigned long long>(seed), log.records().size(),
              cuts.size());
}

/// Runs `work(thread)` in kThreads threads and `meanwhile` here.
void at_once(const std::function<Status(int)>& work, const std::function<Status()>& meanwhile) {
  std::vector<Status> done(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { done[static_cast<std::size_t>(i)] = work(i); });
  }
  const Status own = meanwhile();
  for (auto& thread : threads) {
    thread.join();
  }
  must(own);
  for (const Status& status : done) {
    must(status);
  }
}

// cow_fs: threads in two datasets append, swap and pass a spool through the intent log; snapshots and clones come and
// go.

constexpr std::uint64_t kPoolBytes = 16 * kMiB;

std::string dataset_of(int thread) { return thread == 0 ? "alone" : "shared"; }

/// One thread's files, below a directory of its own.
class Writer {
 public:
  Writer(cow_fs::Files files, Marks& marks, int thread, std::uint64_t seed)
      : files_(std::move(files)), marks_(marks), thread_(thread), rng_(seed, fmt::format("thread {}", thread)) {}

  Status step() {
    switch (rng_.below(4)) {
      case 0:
      case 1:
        return append(path(fmt::format("log{}", rng_.below(2))));
      case 2:
        return swap(FileKind::swap, path("conf"));
      default:
        return spool(path(fmt::format("m{}", rng_.below(3))));
    }
  }

 private:
  [[nodiscard]] std::string path(const std::string& name) const { return fmt::format("t{}/{}", thread_, name); }

  Status sync(const std::string& path) {
    SBENCH_TRY_SET(const NodeId node, files_.find(path));
    return files_.raw().sync_file(node, 0, rng_.below(2) == 0);
  }
  template <typename Act>
  Status acknowledged(FileKind kind, const std::string& path, Act&& act) {
    const std::uint64_t version = versions_[path] + 1;
    const std::string what = fmt::format("{} {} {} {}", dataset_of(thread_), to_string(kind), version, path);
    SBENCH_TRY(marks_.mark("try " + what));
    SBENCH_TRY(act(version));
    versions_[path] = version;
    return marks_.mark("did " + what);
  }
  Status append(const std::string& path) {
    return acknowledged(FileKind::append, path, [&](std::uint64_t version) -> Status {
      const std::string text = version_content(path, version);
      SBENCH_TRY(files_.write(path, sizes_[path], text));
      sizes_[path] += text.size();
      return sync(path);
    });
  }
  Status swap(FileKind kind, const std::string& path) {
    return acknowledged(kind, path, [&](std::uint64_t version) -> Status {
      const std::string temporary = this->path(".new");
      SBENCH_TRY(files_.write(temporary, 0, version_content(path, version)));
      SBENCH_TRY(sync(temporary));
      SBENCH_TRY(files_.rename(temporary, path));
      return sync(path);
    });
  }
  Status spool(const std::string& path) {
    if (versions_[path] % 2 == 0) {
      return swap(FileKind::spool, path);
    }
    return acknowledged(FileKind::spool, path, [&](std::uint64_t) -> Status {
      SBENCH_TRY(files_.unlink(path));
      SBENCH_TRY_SET(const NodeId folder, files_.find(fmt::format("t{}", thread_)));
      return files_.raw().sync_directory(folder);
    });
  }

  cow_fs::Files files_;
  Marks& marks_;
  int thread_;
  Rng rng_;
  std::map<std::string, std::uint64_t> versions_;
  std::map<std::string, std::uint64_t> sizes_;
};

void play_on_pool(RecordingIo& io, std::uint64_t seed) {
  must(cow_fs::Pool::format(io));
  cow_fs::OpenOptions options;
  options.cache_bytes = 4 * kMiB;
  options.commit_interval_ms = 5;
  const auto pool = must(cow_fs::Pool::open(io, options));
  std::map<std::string, std::unique_ptr<cow_fs::DatasetFiles>> mounted;
  for (const char* name : {"alone", "shared"}) {
    must(pool->create(name, {}));
    must(io.mark(fmt::format("layer prepare {}", name)));
    mounted[name] = must(cow_fs::DatasetFiles::open(*pool, name));
  }
  for (int i = 0; i < kThreads; ++i) {
    must(cow_fs::Files(*mounted[dataset_of(i)]).make(fmt::format("t{}", i), S_IFDIR | 0755));
  }
  must(pool->sync());
  must(io.mark("synced"));
  must(io.mark("begun"));
  at_once(
      [&](int thread) -> Status {
        Writer writer(cow_fs::Files(*mounted[dataset_of(thread)]), io, thread, seed);
        for (int step = 0; step < 20; ++step) {
          SBENCH_TRY(writer.step());
        }
        return {};
      },
      [&]() -> Status {
        for (int i = 0; i < 4; ++i) {
          SBENCH_TRY(pool->snapshot("shared", "snap"));
          SBENCH_TRY(pool->clone("snap", "clone"));
          SBENCH_TRY(pool->destroy("clone"));
          SBENCH_TRY(pool->destroy("snap"));
        }
        return {};
      });
}

void check_pool_after(MemoryDevice& after, const Expectation& expected) {
  ASSERT_THAT(cow_fs::check_pool(after).findings, ::testing::IsEmpty());
  const auto pool = must(cow_fs::Pool::open(after, cow_fs::quiet_options()));
  for (const char* name : {"alone", "shared"}) {
    const auto mounted = must(cow_fs::DatasetFiles::open(*pool, name));
    cow_fs::Files files(*mounted);
    for (const auto& [path, state] : expected.find(name)->files) {
      const std::string wrong = compare_content(files.read(path), path, state, nullptr, false);
      ASSERT_EQ(wrong, "") << name << "/" << path << " (" << to_string(state.kind) << ")";
    }
  }
  must(pool->sync());
  ASSERT_THAT(cow_fs::check_pool(after).findings, ::testing::IsEmpty());
}

TEST(InProcess, cow_fs_loses_nothing_that_fsync_in_any_of_several_threads_acknowledged) {
  for (std::uint64_t round = 0; round < cow_fs::test_rounds(1) && !HasFailure(); ++round) {
    const std::uint64_t seed = cow_fs::test_seed() + round;
    MemoryDevice device(kPoolBytes);
    RecordingIo io(device);
    play_on_pool(io, seed);
    for_each_cut(io.log(), kPoolBytes, seed, [&](MemoryDevice& after, std::size_t at) {
      check_pool_after(after, Expectation::after(io.log(), at));
    });
  }
}

// thin_pool: threads write blocks of a device each and flush; snapshots of the first come and go.

constexpr std::uint64_t kThinPoolBytes = 12 * kMiB;
constexpr std::uint64_t kDeviceBytes = 512 * kKiB;
constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kBlocks = kDeviceBytes / kBlockBytes;

std::vector<std::byte> block_of(std::uint64_t value, std::uint64_t blocks) {
  std::vector<std::byte> data(blocks * kBlockBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof(value)) {
    std::memcpy(data.data() + at, &value, sizeof(value));
  }
  return data;
}

void play_on_thin_pool(RecordingIo& io, std::uint64_t seed) {
  thin_pool::FormatOptions format;
  format.metadata_bytes = 512 * kKiB;
  must(thin_pool::Pool::format(io, format));
  thin_pool::OpenOptions options;
  options.commit_interval_ms = 5;
  const auto pool = must(thin_pool::Pool::open(io, options));
  for (thin_pool::DeviceId id = 0; id < kThreads; ++id) {
    must(pool->create_device(id, kDeviceBytes));
  }
  must(io.mark("begun"));
  at_once(
      [&](int thread) -> Status {
        const auto id = static_cast<thin_pool::DeviceId>(thread);
        Rng rng(seed, fmt::format("thin {}", thread));
        for (std::uint64_t value = 1; value <= 60; ++value) {
          const std::uint64_t first = rng.below(kBlocks);
          const std::uint64_t count = 1 + rng.below(std::min<std::uint64_t>(kBlocks - first, 6));
          SBENCH_TRY(io.mark(fmt::format("wrote {} {} {} {}", id, value, first, count)));
          SBENCH_TRY(pool->write(id, first * kBlockBytes, block_of(value, count)));
          if (rng.below(3) == 0) {
            SBENCH_TRY(pool->flush());
            SBENCH_TRY(io.mark(fmt::format("flushed {} {}", id, value)));
          }
        }
        return {};
      },
      [&]() -> Status {
        for (thin_pool::DeviceId id = 10; id < 14; ++id) {
          SBENCH_TRY(pool->create_snapshot(id, 0));
          SBENCH_TRY(id % 2 == 0 ? Status() : pool->delete_device(id - 1));
        }
        return {};
      });
}

/// The values each block of a device may have: the last one flushed, and those written since.
class Blocks {
 public:
  Blocks(const WriteLog& log, std::size_t at, thin_pool::DeviceId wanted) : allowed_(kBlocks, {0}) {
    std::uint64_t flushed = 0;
    std::vector<std::array<std::uint64_t, 3>> writes;
    for (std::size_t i = 0; i < std::min(at, log.records().size()); ++i) {
      if (log.records()[i].kind != RecordKind::mark) {
        continue;
      }
      std::istringstream words{std::string(log.records()[i].text())};
      std::string verb;
      thin_pool::DeviceId id = 0;
      std::uint64_t value = 0;
      std::uint64_t first = 0;
      std::uint64_t count = 0;
      words >> verb >> id >> value >> first >> count;
      if (id == wanted && verb == "wrote") {
        writes.push_back({value, first, count});
      } else if (id == wanted && verb == "flushed") {
        flushed = value;
      }
    }
    for (const auto& [value, first, count] : writes) {
      for (std::uint64_t block = first; block < first + count; ++block) {
        if (value <= flushed) {
          allowed_[block].clear();
        }
        allowed_[block].push_back(value);
      }
    }
  }

  /// Sector by sector: no more is written in one piece.
  void compare(thin_pool::DeviceId id, std::span<const std::byte> content) const {
    for (std::uint64_t at = 0; at < content.size(); at += 512) {
      std::uint64_t value = 0;
      std::memcpy(&value, content.data() + at, sizeof(value));
      const auto& allowed = allowed_[at / kBlockBytes];
      ASSERT_TRUE(std::find(allowed.begin(), allowed.end(), value) != allowed.end())
          << "device " << id << " block " << at / kBlockBytes << " has " << value << ", flushed was "
          << allowed.front();
    }
  }

 private:
  std::vector<std::vector<std::uint64_t>> allowed_;
};

void check_thin_pool_after(MemoryDevice& after, const WriteLog& log, std::size_t at) {
  ASSERT_THAT(thin_pool::check_pool(after).findings, ::testing::IsEmpty());
  thin_pool::OpenOptions options;
  options.commit_interval_ms = 0;
  const auto pool = must(thin_pool::Pool::open(after, options));
  for (thin_pool::DeviceId id = 0; id < kThreads; ++id) {
    std::vector<std::byte> content(kDeviceBytes);
    must(pool->read(id, 0, content));
    Blocks(log, at, id).compare(id, content);
  }
  must(pool->flush());
  ASSERT_THAT(thin_pool::check_pool(after).findings, ::testing::IsEmpty());
}

TEST(InProcess, thin_pool_loses_nothing_that_a_flush_in_any_of_several_threads_acknowledged) {
  for (std::uint64_t round = 0; round < cow_fs::test_rounds(1) && !HasFailure(); ++round) {
    const std::uint64_t seed = cow_fs::test_seed() + round;
    MemoryDevice device(kThinPoolBytes);
    RecordingIo io(device);
    play_on_thin_pool(io, seed);
    for_each_cut(io.log(), kThinPoolBytes, seed,
                 [&](MemoryDevice& after, std::size_t at) { check_thin_pool_after(after, io.log(), at); });
  }
}

}  // namespace
}  // namespace sbench::crash
