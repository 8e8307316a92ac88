// What cow_fs does in process, single-threaded, beside the raw device below it.
//
// Build and run (files lie in a temporary folder below /var/tmp; SBENCH_MICRO_DIR names another place):
//   cmake --build build/release --target sbench_micro && build/release/tests/sbench_micro --benchmark_filter=cow_
// cow_sequential_* take turns with plain O_DIRECT transfers of 1 MiB, as many at once as cow_fs has, over a
// file of the same size on the same disk; `of_raw` is the median of the turns' ratios.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "tests/micro/cow_fs_bed.h"

namespace sbench::cow_fs {
namespace {

double raw_write(BlockIo& device, const Bytes& piece, std::uint64_t size_bytes, std::uint64_t depth) {
  const auto begin = Clock::now();
  for (std::uint64_t at = 0; at < size_bytes; at += depth * kPiece) {
    std::vector<BlockIo::Transfer> transfers;
    for (std::uint64_t i = 0; i < depth; ++i) {
      transfers.push_back({at + i * kPiece, piece});
    }
    must(device.write_all(transfers));
  }
  must(device.flush());
  return seconds_since(begin);
}

double raw_read(BlockIo& device, std::uint64_t size_bytes, std::uint64_t depth) {
  Bytes memory(depth * kPiece);
  const auto begin = Clock::now();
  for (std::uint64_t at = 0; at < size_bytes; at += depth * kPiece) {
    std::vector<BlockIo::Fill> fills;
    for (std::uint64_t i = 0; i < depth; ++i) {
      fills.push_back({at + i * kPiece, std::span<std::byte>(memory).subspan(i * kPiece, kPiece)});
    }
    must(device.read_all(fills));
  }
  return seconds_since(begin);
}

NodeId new_file(FileSystem& files, const std::string& name) {
  const auto made = must(files.create({}, kRootNode, name, 0644, O_RDWR));
  files.release(made.entry.node, made.file.handle);
  return made.entry.node;
}

double write_file(Bed& bed, FileSystem& files, NodeId node, const Bytes& piece, std::uint64_t size_bytes) {
  const auto begin = Clock::now();
  for (std::uint64_t at = 0; at < size_bytes; at += kPiece) {
    SBENCH_CHECK(must(files.write(node, 0, piece, at)) == kPiece);
  }
  must(bed.pool().sync());
  return seconds_since(begin);
}

double read_file(FileSystem& files, NodeId node, std::uint64_t size_bytes) {
  Bytes memory(kPiece);
  const auto begin = Clock::now();
  for (std::uint64_t at = 0; at < size_bytes; at += kPiece) {
    SBENCH_CHECK(must(files.read(node, 0, memory, at)) == kPiece);
  }
  return seconds_since(begin);
}

/// Fills in the counters of turns of (ours, raw) seconds.
void report_turns(benchmark::State& state, std::vector<std::pair<double, double>> turns, std::uint64_t size_bytes) {
  const auto median = [&](auto&& value) {
    std::vector<double> values;
    for (const auto& turn : turns) {
      values.push_back(value(turn));
    }
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
    return values[values.size() / 2];
  };
  const double mib = static_cast<double>(size_bytes) / static_cast<double>(kMiB);
  state.counters["of_raw"] = median([](const auto& turn) { return turn.second / turn.first; });
  state.counters["ours_MiB_s"] = median([&](const auto& turn) { return mib / turn.first; });
  state.counters["raw_MiB_s"] = median([&](const auto& turn) { return mib / turn.second; });
}

/// Write with the final sync: {record bytes, transfers at once of the raw reference}.
void cow_sequential_write(benchmark::State& state) {
  constexpr std::uint64_t kBytes = 256 * kMiB;
  Bed bed(768 * kMiB, kBytes);
  DatasetOptions options;
  options.record_bytes = static_cast<std::uint32_t>(state.range(0));
  const auto depth = static_cast<std::uint64_t>(state.range(1));
  const Bytes piece = noise(kPiece);
  std::vector<std::pair<double, double>> turns;
  for (auto _ : state) {
    FileSystem& files = bed.format(options);
    const NodeId node = new_file(files, "f");
    const double raw = raw_write(bed.raw(), piece, kBytes, depth);
    const double ours = write_file(bed, files, node, piece, kBytes);
    state.SetIterationTime(ours);
    turns.emplace_back(ours, raw);
  }
  report_turns(state, turns, kBytes);
}
BENCHMARK(cow_sequential_write)->ArgsProduct({{128 << 10}, {1, 4}})->Args({1 << 20, 4})->Iterations(7)->UseManualTime()->Unit(benchmark::kMillisecond);

/// Read with nothing cached: {record bytes, transfers at once of the raw reference}.
void cow_sequential_read(benchmark::State& state) {
  constexpr std::uint64_t kBytes = 256 * kMiB;
  Bed bed(768 * kMiB, kBytes);
  DatasetOptions options;
  options.record_bytes = static_cast<std::uint32_t>(state.range(0));
  FileSystem& files = bed.format(options);
  const NodeId node = new_file(files, "f");
  write_file(bed, files, node, noise(kPiece), kBytes);
  std::vector<std::pair<double, double>> turns;
  for (auto _ : state) {
    const double raw = raw_read(bed.raw(), kBytes, static_cast<std::uint64_t>(state.range(1)));
    bed.pool().drop_cache();
    const double ours = read_file(files, node, kBytes);
    state.SetIterationTime(ours);
    turns.emplace_back(ours, raw);
  }
  report_turns(state, turns, kBytes);
}
BENCHMARK(cow_sequential_read)->ArgsProduct({{128 << 10}, {1, 4}})->Args({1 << 20, 4})->Iterations(7)->UseManualTime()->Unit(benchmark::kMillisecond);

/// Files with 1 KiB, 100 in a directory, and one commit at the end: {files}.
void cow_create_small(benchmark::State& state) {
  const std::uint64_t count = static_cast<std::uint64_t>(state.range(0));
  Bed bed((count / 64 + 64) * kMiB, 0);
  const Bytes content = noise(kKiB);
  for (auto _ : state) {
    FileSystem& files = bed.format();
    const auto begin = Clock::now();
    NodeId directory = kRootNode;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i % 100 == 0) {
        directory = must(files.make_directory({}, kRootNode, fmt::format("d{}", i), 0755)).node;
      }
      const auto made = must(files.create({}, directory, fmt::format("f{}", i), 0644, O_RDWR));
      SBENCH_CHECK(must(files.write(made.entry.node, made.file.handle, content, 0)) == content.size());
      files.release(made.entry.node, made.file.handle);
      files.forget(made.entry.node, 1);
    }
    must(bed.pool().sync());
    state.SetIterationTime(seconds_since(begin));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(cow_create_small)->Arg(500)->Arg(5000)->Arg(20000)->Iterations(5)->UseManualTime()->Unit(benchmark::kMillisecond);

/// Names looked up in one directory, in another order than they were made, with their attributes: {names, cached}.
void cow_lookup(benchmark::State& state) {
  const std::uint64_t count = static_cast<std::uint64_t>(state.range(0));
  Bed bed(2 * kGiB, 0);
  FileSystem& files = bed.format();
  const auto begin = Clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    const Entry made = must(files.make_node({}, kRootNode, fmt::format("name{}", i), S_IFREG | 0644, 0));
    files.forget(made.node, 1);
  }
  must(bed.pool().sync());
  state.counters["made_s"] = seconds_since(begin);
  if (state.range(1) == 0) {
    bed.pool().drop_cache();
  }
  std::uint64_t i = 0;
  for (auto _ : state) {
    i = (i + 7919 * 131) % count;
    const Entry entry = must(files.lookup(kRootNode, fmt::format("name{}", i)));
    files.forget(entry.node, 1);
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(state.range(1) != 0 ? "as made" : "cold");
}
BENCHMARK(cow_lookup)->ArgsProduct({{10'000, 100'000, 1'000'000}, {0, 1}})->Iterations(50'000)->Unit(benchmark::kMicrosecond);

/// A snapshot, a clone of it, and the end of that clone, each with a committed group: {MiB the dataset holds, MiB the clone
/// has written, clones of the dataset that are there already}. Counters in milliseconds, medians: the first two must not
/// follow the first number, the last the second one, and none the third.
void cow_snapshot(benchmark::State& state) {
  const auto held = static_cast<std::uint64_t>(state.range(0));
  const auto written = static_cast<std::uint64_t>(state.range(1));
  Bed bed((held + 2 * written + 256) * kMiB, 0);
  const Bytes piece = noise(kPiece);
  const auto fill = [&](FileSystem& files, std::uint64_t pieces) {
    const auto made = must(files.create({}, kRootNode, "data", 0644, O_RDWR));
    for (std::uint64_t i = 0; i < pieces; ++i) {
      SBENCH_CHECK(must(files.write(made.entry.node, made.file.handle, piece, i * kPiece)) == kPiece);
    }
    files.release(made.entry.node, made.file.handle);
    files.forget(made.entry.node, 1);
    must(bed.pool().sync());
  };
  fill(bed.format(), held);
  Pool& pool = bed.pool();
  for (std::int64_t i = 0; i < state.range(2); ++i) {
    must(pool.snapshot("d", fmt::format("d@{}c", i)));
    must(pool.clone(fmt::format("d@{}c", i), fmt::format("c{}", i)));
    must(pool.destroy(fmt::format("d@{}c", i), true));
  }
  std::vector<double> snapshots, clones, ends;
  const auto timed = [&](std::vector<double>& into, const std::function<Status()>& change) {
    const auto begin = Clock::now();
    must(change());
    must(pool.sync());
    into.push_back(seconds_since(begin));
  };
  for (auto _ : state) {
    timed(snapshots, [&] { return pool.snapshot("d", "d@1"); });
    timed(clones, [&] { return pool.clone("d@1", "c"); });
    {
      const auto files = must(DatasetFiles::open(pool, "c"));
      must(files->unlink(kRootNode, "data"));
      fill(*files, written);
    }
    timed(ends, [&] { return pool.destroy("c"); });
    must(pool.destroy("d@1"));
    must(pool.sync());
    state.SetIterationTime(snapshots.back());
  }
  const auto median_ms = [](std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2] * 1e3;
  };
  state.counters["snapshot_ms"] = median_ms(snapshots);
  state.counters["clone_ms"] = median_ms(clones);
  state.counters["destroy_ms"] = median_ms(ends);
}
BENCHMARK(cow_snapshot)
    ->ArgsProduct({{64, 256, 1024}, {16, 256}, {0}})
    ->Args({64, 16, 100})
    ->Args({64, 16, 1000})
    ->Iterations(7)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sbench::cow_fs
