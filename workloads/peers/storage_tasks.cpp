// storage_tasks.cpp: the shape of chriskuehl/docker-storage-benchmark.
//
// An image with 40 big files (ten each of 1, 8, 32 and 128 MiB), 10 001 files of 512
// bytes and a binary tree of depth 14 with a file of 8 bytes in each of its 16 384
// leaves. In one container, 1 to 100 workers at once each append five bytes to every
// file of a kind, or read them all; reading the tree looks its folders up one by one,
// once in the image and once bind mounted from outside. Published times also hold the
// start of the container and of a process for each file (cat, readlink -f); here
// workers are threads that read and look up. Nothing is synced, as there.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/bind_mount.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAppended = "ohai\n";
constexpr const char* kLeaf = "oh-hi";
constexpr const char* kOutside = "mnt";  ///< where the image expects what comes from outside

struct File {
  std::string path;  ///< from the root of the tree
  std::uint64_t size_bytes = 0;
  std::uint64_t seed = 0;
};

/// Leaves below `folder`, in the order in which they are visited.
void add_leaves(const std::string& folder, unsigned depth, std::vector<File>& files) {
  if (depth == 0) {
    files.push_back({folder + "/" + kLeaf, 8, 0});
    return;
  }
  add_leaves(folder + "/0", depth - 1, files);
  add_leaves(folder + "/1", depth - 1, files);
}

/// The files of one kind ("big", "small" or "tree"), at the case's scale.
std::vector<File> files_of(const Case& c, const std::string& kind) {
  std::vector<File> files;
  if (kind == "big") {
    for (unsigned i = 0; i < 10; ++i) {
      for (const std::uint64_t size : {1, 8, 32, 128}) {
        files.push_back({fmt::format("test/big-files/{}M-{}.bin", size, i), scaled(c, size * kMiB), 0});
      }
    }
  } else if (kind == "small") {
    const std::uint64_t count = scaled(c, 10'001);
    for (std::uint64_t i = 0; i < count; ++i) {
      files.push_back({fmt::format("test/small-files/{}", i), 512, 0});
    }
  } else {
    unsigned depth = 0;
    while ((2u << depth) <= scaled(c, 16'384)) {
      ++depth;
    }
    add_leaves("tree-of-files", depth, files);
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    files[i].seed = content_seed(c) + i;
  }
  return files;
}

Status write_files(const fs::path& root, const std::vector<File>& files) {
  fs::path folder;
  for (const auto& file : files) {
    const fs::path path = root / file.path;
    if (path.parent_path() != folder) {
      folder = path.parent_path();
      SBENCH_TRY(make_directories(folder));
    }
    SBENCH_TRY(make_file(path, Content(file.seed), file.size_bytes));
  }
  return {};
}

/// Content, then `appended` times kAppended. Both ends and a range in the middle of big files are read.
Status verify_appended(const fs::path& path, const File& file, std::uint64_t appended) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  std::string tail;
  for (std::uint64_t i = 0; i < appended; ++i) {
    tail += kAppended;
  }
  SBENCH_TRY(
      verify(static_cast<std::uint64_t>(status.st_size) == file.size_bytes + tail.size(),
             fmt::format("{} has {} bytes, not {}", path.string(), status.st_size, file.size_bytes + tail.size())));
  std::vector<std::byte> data;
  const auto read = [&](std::uint64_t offset, std::uint64_t size) -> Status {
    data.resize(size);
    const ssize_t count = ::pread(fd.get(), data.data(), size, static_cast<off_t>(offset));
    return count == static_cast<ssize_t>(size) ? Status() : Status(errno_error("cannot read {}", path.string()));
  };
  const std::uint64_t piece = std::min(file.size_bytes, 64 * kKiB);
  for (const std::uint64_t offset : {std::uint64_t{0}, (file.size_bytes - piece) / 2, file.size_bytes - piece}) {
    SBENCH_TRY(read(offset, piece));
    SBENCH_TRY(verify(Content(file.seed).matches(offset, data), fmt::format("{} keeps its content", path.string())));
  }
  SBENCH_TRY(read(file.size_bytes, tail.size()));
  return verify(std::memcmp(data.data(), tail.data(), tail.size()) == 0,
                fmt::format("{} ends with what {} workers appended", path.string(), appended));
}

Status append(const fs::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY | O_APPEND));
  const ssize_t count = ::write(fd.get(), kAppended.data(), kAppended.size());
  return count == static_cast<ssize_t>(kAppended.size()) ? Status()
                                                         : Status(errno_error("cannot append to {}", path.string()));
}

/// Looks every component of the path up, as readlink -f does, yet in one call.
Status resolve(const fs::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? Status() : Status(errno_error("cannot look {} up", path.string()));
}

/// Depth first down to the leaves, `depth` folders below; `resolving`: every folder and leaf is looked
/// up on the way. A leaf that is not there is an error, whatever hides it.
Status explore(const fs::path& folder, std::ptrdiff_t depth, bool resolving,
               const std::function<Status(const fs::path&)>& visit) {
  if (resolving) {
    SBENCH_TRY(resolve(folder));
  }
  const fs::path leaf = folder / kLeaf;
  struct stat status {};
  if (::stat(leaf.c_str(), &status) == 0) {
    if (resolving) {
      SBENCH_TRY(resolve(leaf));
    }
    return visit(leaf);
  }
  if (errno != ENOENT || depth == 0) {
    return errno_error("cannot inspect {}", leaf.string());
  }
  SBENCH_TRY(explore(folder / "0", depth - 1, resolving, visit));
  return explore(folder / "1", depth - 1, resolving, visit);
}

struct Worker {
  std::vector<std::uint64_t> latencies_ns;
  std::uint64_t bytes = 0;
  Status status;
};

/// Everything one worker does to every file of the task.
Status work(Worker& worker, const fs::path& root, const std::vector<File>& files, bool appends, bool is_tree) {
  const auto visit = [&](const fs::path& path) -> Status {
    const std::uint64_t start_ns = Case::clock_ns();
    if (appends) {
      SBENCH_TRY(append(path));
      worker.bytes += kAppended.size();
    } else {
      SBENCH_TRY_SET(const std::uint64_t bytes, read_through(path));
      worker.bytes += bytes;
    }
    worker.latencies_ns.push_back(Case::clock_ns() - start_ns);
    return {};
  };
  if (is_tree) {
    const std::string& path = files.front().path;
    return explore(root / "tree-of-files", std::count(path.begin(), path.end(), '/') - 1, !appends, visit);
  }
  for (const auto& file : files) {
    SBENCH_TRY(visit(root / file.path));
  }
  return {};
}

Status work_at_once(std::vector<Worker>& workers, const std::function<Status(Worker&)>& body) {
  {
    std::vector<std::jthread> threads;
    threads.reserve(workers.size());
    for (auto& worker : workers) {
      threads.emplace_back([&] { worker.status = body(worker); });
    }
  }
  for (const auto& worker : workers) {
    SBENCH_TRY(Status(worker.status));
  }
  return {};
}

/// The image of the task. Big files do not outlive the case: two such images fill a small device.
Result<LayerId> image_of(Case& c, Scratch& scratch, const std::string& kind, const std::vector<File>& files) {
  SBENCH_TRY_SET(const ParentId base, fixture_base(c));
  const auto write = [&](const fs::path& root) -> Status {
    SBENCH_TRY(make_directories(root / kOutside));
    return write_files(root, files);
  };
  if (kind == "big") {
    return scratch.written("storage-tasks", base, write);
  }
  LayerId name = fmt::format("storage-tasks-{}-{}", kind, files.size());
  SBENCH_TRY(written_layer(c, name, base, write));
  return name;
}

Status run(Case& c) {
  const std::string& task = c.params().text("task");
  const bool appends = task.starts_with("append");
  const bool outside = task.ends_with("mounted");
  const std::string kind = task.find("big") != std::string::npos     ? "big"
                           : task.find("small") != std::string::npos ? "small"
                                                                     : "tree";
  const auto files = files_of(c, kind);
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId image, image_of(c, scratch, kind, files));
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("storage-tasks", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  fs::path root = mount.path();
  std::optional<Mount> volume;  // a driver has no directories but layers: one without a parent is a plain tree
  std::optional<BindMount> bind;
  if (outside) {
    SBENCH_TRY_SET(const LayerId id, scratch.prepare("storage-tasks-volume", std::nullopt));
    SBENCH_TRY_SET(Mount made, c.driver().mount(id));
    volume.emplace(std::move(made));
    SBENCH_TRY(write_files(volume->path(), files));
    root = mount.path() / kOutside;
    SBENCH_TRY_SET(BindMount shown, BindMount::attach(volume->path(), root));
    bind.emplace(std::move(shown));
  }
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  std::vector<Worker> workers(c.params().number("workers"));
  SBENCH_TRY(c.timed(appends ? "append" : "read", [&] {
    return work_at_once(workers, [&](Worker& worker) { return work(worker, root, files, appends, kind == "tree"); });
  }));
  std::uint64_t bytes = 0;
  for (const auto& worker : workers) {
    bytes += worker.bytes;
    for (const std::uint64_t latency_ns : worker.latencies_ns) {
      c.latency(appends ? "append" : "read", latency_ns);
    }
  }
  appends ? c.app_wrote(bytes) : c.app_read(bytes);
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));

  for (const auto& file : files) {
    SBENCH_TRY(verify_appended(root / file.path, file, appends ? workers.size() : 0));
  }
  if (bind) {
    SBENCH_TRY(bind->detach());
    SBENCH_TRY(volume->release());
  }
  SBENCH_TRY(mount.release());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const std::vector<std::string> kTasks = {"append-big-files", "append-small-files", "append-tree",      "read-big-files",
                                         "read-small-files", "read-tree",          "read-tree-mounted"};

const RegisterWorkload kRegistered{{
    .name = "peers.storage_tasks",
    .summary = "docker-storage-benchmark: workers that all append to, or read, big files, small files or a deep tree",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"task", "what every worker does", {{kTasks, {}, kTasks, kTasks}}},
               {"workers", "workers at once, all on the same files", {{{"2"}, {}, {"10"}, {"1", "10", "100"}}}},
               scale_param({"1024"}, {}, {"64"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
