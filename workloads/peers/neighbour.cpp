// neighbour.cpp: what deleting a container does to another one that goes on working.
//
// The neighbour writes 4 KiB blocks to a file of its own layer, syncing each: first
// alone, then while a layer of many files is deleted. The deletion is what is timed;
// the neighbour's latencies are kept as `alone` and `beside_deletion`. Threads about
// deletion that stalls others: moby#17551, moby#11053, containerd#8542.
#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlockBytes = 4 * kKiB;
constexpr std::uint64_t kBlocks = 256;  ///< blocks of the neighbour's file, written over and over

class Neighbour {
 public:
  Neighbour(fs::path path, const Content& content) : path_(std::move(path)), content_(content) {}

  Status open() {
    SBENCH_TRY_SET(fd_, open_file(path_, O_WRONLY | O_CREAT, 0644));
    return {};
  }
  /// One synced block; its latency goes to `latencies_ns`.
  Status write_one(std::vector<std::uint64_t>& latencies_ns) {
    const std::uint64_t start_ns = Case::clock_ns();
    SBENCH_TRY(write_range(fd_.get(), content_, written_ % kBlocks * kBlockBytes, kBlockBytes, path_));
    SBENCH_TRY(fsync_fd(fd_.get(), path_));
    latencies_ns.push_back(Case::clock_ns() - start_ns);
    ++written_;
    return {};
  }
  /// The file is closed, and holds what was written.
  [[nodiscard]] Status check() {
    fd_.reset();
    return verify_file(path_, content_, std::min(written_, kBlocks) * kBlockBytes);
  }

 private:
  fs::path path_;
  Content content_;
  Fd fd_;
  std::uint64_t written_ = 0;
};

double median_ns(std::vector<std::uint64_t> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : static_cast<double>(values[values.size() / 2]);
}

/// Deletes `victim` while the neighbour writes; at least one write falls into the deletion.
Status delete_beside(Case& c, Scratch& scratch, const LayerId& victim, Neighbour& neighbour,
                     std::vector<std::uint64_t>& latencies_ns) {
  std::atomic<bool> done{false};
  std::atomic<bool> begun{false};
  Status wrote;
  Status removed;
  {
    const std::jthread writer([&] {
      do {
        wrote = neighbour.write_one(latencies_ns);
        begun = true;
      } while (wrote.ok() && !done);
    });
    while (!begun) {
      std::this_thread::yield();
    }
    removed = c.timed("delete", [&] { return scratch.remove(victim); });
    done = true;
  }
  SBENCH_TRY(Status(removed));
  return wrote;
}

Status run(Case& c) {
  const std::uint64_t count = scaled(c, 100'000);
  const auto files = small_files(c, count);
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, 1));
  SBENCH_TRY_SET(const LayerId victim, scratch.written("victim", image, [&](const fs::path& root) -> Status {
    for (std::size_t i = 0; i < files.size(); ++i) {
      const fs::path path = root / "own" / files[i].path;
      SBENCH_TRY(i % 100 == 0 ? make_directories(path.parent_path()) : Status());
      SBENCH_TRY(make_file(path, Content(files[i].content_seed), files[i].size_bytes));
    }
    return {};
  }));
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("neighbour", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY(verify_small_file(mount.path() / files.front().path, small_files(c, 1).front()));
  Neighbour neighbour(mount.path() / "neighbour", Content(content_seed(c)));
  SBENCH_TRY(neighbour.open());
  SBENCH_TRY(quiet(c));

  std::vector<std::uint64_t> alone;
  SBENCH_TRY(c.phase("alone", [&]() -> Status {
    for (std::uint64_t i = 0; i < c.params().number("writes"); ++i) {
      SBENCH_TRY(neighbour.write_one(alone));
    }
    return {};
  }));
  SBENCH_TRY(quiet(c));
  std::vector<std::uint64_t> beside;
  SBENCH_TRY(delete_beside(c, scratch, victim, neighbour, beside));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  c.app_wrote(beside.size() * kBlockBytes);
  std::for_each(alone.begin(), alone.end(), [&](std::uint64_t ns) { c.latency("alone", ns); });
  std::for_each(beside.begin(), beside.end(), [&](std::uint64_t ns) { c.latency("beside_deletion", ns); });
  c.metric("neighbour_median_alone_s", median_ns(alone) * 1e-9);
  c.metric("neighbour_median_beside_deletion_s", median_ns(beside) * 1e-9);
  c.metric("neighbour_writes_beside_deletion", static_cast<double>(beside.size()));

  SBENCH_TRY(neighbour.check());
  SBENCH_TRY_SET(const auto left, c.driver().list());
  for (const auto& [id, parent] : left) {
    SBENCH_TRY(verify(id != victim, "the deleted layer is no longer listed"));
  }
  SBENCH_TRY(mount.release());
  return scratch.remove_all();
}

const RegisterWorkload kRegistered{{
    .name = "peers.neighbour",
    .summary = "synced writes of one container before and while a layer of 100 000 files is deleted",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"writes", "the neighbour's synced writes before the deletion", {{{"20"}, {}, {"100"}, {"1000"}}}},
               scale_param({"1000"}, {}, {"20"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
