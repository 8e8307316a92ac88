// tree_append.cpp: appending a few bytes to every file of a lower tree, by several workers at once.
#include <fcntl.h>

#include <thread>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAppended = 16;

struct Worker {
  std::vector<std::uint64_t> latencies_ns;
  Status status;

  void run(const fs::path& root, const std::vector<SmallFile>& files, std::size_t first, std::size_t stride) {
    for (std::size_t i = first; i < files.size() && status.ok(); i += stride) {
      const std::uint64_t start_ns = Case::clock_ns();
      status = append(root / files[i].path, files[i]);
      latencies_ns.push_back(Case::clock_ns() - start_ns);
    }
  }

  static Status append(const fs::path& path, const SmallFile& file) {
    SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY));
    return write_range(fd.get(), append_content(file), file.size_bytes, kAppended, path);
  }
};

Status append_all(const fs::path& root, const std::vector<SmallFile>& files, std::vector<Worker>& workers) {
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < workers.size(); ++i) {
      threads.emplace_back([&, i] { workers[i].run(root, files, i, workers.size()); });
    }
  }
  for (const auto& worker : workers) {
    SBENCH_TRY(Status(worker.status));
  }
  return {};
}

Status run(Case& c) {
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("tree-append", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  SBENCH_TRY(quiet(c));

  const auto files = small_files(c, count);
  std::vector<Worker> workers(c.params().number("workers"));
  SBENCH_TRY(c.timed("append", [&] { return append_all(mount.path(), files, workers); }));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  c.app_wrote(kAppended * count);
  for (const auto& worker : workers) {
    for (const std::uint64_t latency_ns : worker.latencies_ns) {
      c.latency("append", latency_ns);
    }
  }
  for (const auto& file : files) {
    SBENCH_TRY(verify_small_file(mount.path() / file.path, file, kAppended));
  }
  SBENCH_TRY(mount.release());
  return scratch.remove_all();
}

const RegisterWorkload kRegistered{{
    .name = "copy_up.tree_append",
    .summary = "a short append to each of many small lower files, by one or several workers",
    .version = 1,
    .cache = "warm",
    .durability = "sync-at-end",
    .params = {{"files", "files in the tree", {{{"50"}, {"500"}, {"10000"}, {"10000"}}}},
               {"workers", "threads appending at once", {{{"2"}, {"1", "4"}, {"1", "4"}, {"1", "10", "100"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
