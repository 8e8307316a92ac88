// containers.cpp: containers of one image that all work at the same time.
//
// Every container is mounted and has a worker: it reads all files of the image,
// appends to every tenth and makes a new file beside it. cache_reuse.containers says
// what starting many costs; this says whether they get in each other's way.
#include <fcntl.h>

#include <thread>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAppended = 16;
constexpr std::size_t kChangedEvery = 10;

struct Container {
  Mount mount;
  std::vector<std::uint64_t> latencies_ns;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  Status status;
};

Status timed_into(std::vector<std::uint64_t>& latencies_ns, const std::function<Status()>& body) {
  const std::uint64_t start_ns = Case::clock_ns();
  SBENCH_TRY(body());
  latencies_ns.push_back(Case::clock_ns() - start_ns);
  return {};
}

fs::path new_file(const fs::path& root, const SmallFile& file) { return root / (file.path + ".new"); }

Status work(Container& container, const std::vector<SmallFile>& files) {
  const fs::path& root = container.mount.path();
  for (std::size_t i = 0; i < files.size(); ++i) {
    const SmallFile& file = files[i];
    SBENCH_TRY(timed_into(container.latencies_ns, [&]() -> Status {
      SBENCH_TRY_SET(const std::uint64_t bytes, read_through(root / file.path));
      container.bytes_read += bytes;
      return {};
    }));
    if (i % kChangedEvery != 0) {
      continue;
    }
    SBENCH_TRY(timed_into(container.latencies_ns, [&]() -> Status {
      SBENCH_TRY_SET(Fd fd, open_file(root / file.path, O_WRONLY));
      return write_range(fd.get(), append_content(file), file.size_bytes, kAppended, root / file.path);
    }));
    SBENCH_TRY(timed_into(container.latencies_ns,
                          [&] { return make_file(new_file(root, file), append_content(file), file.size_bytes); }));
    container.bytes_written += kAppended + file.size_bytes;
  }
  return {};
}

Status work_at_once(std::vector<Container>& containers, const std::vector<SmallFile>& files) {
  {
    std::vector<std::jthread> threads;
    threads.reserve(containers.size());
    for (auto& container : containers) {
      threads.emplace_back([&] { container.status = work(container, files); });
    }
  }
  for (const auto& container : containers) {
    SBENCH_TRY(Status(container.status));
  }
  return {};
}

Status verify_container(const fs::path& root, const std::vector<SmallFile>& files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    const bool changed = i % kChangedEvery == 0;
    SBENCH_TRY(verify_small_file(root / files[i].path, files[i], changed ? kAppended : 0));
    if (changed) {
      SBENCH_TRY(verify_file(new_file(root, files[i]), append_content(files[i]), files[i].size_bytes));
    }
  }
  return {};
}

Status run(Case& c) {
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  const auto files = small_files(c, count);
  Scratch scratch(c);
  std::vector<Container> containers;
  SBENCH_TRY(quiet(c));
  SBENCH_TRY(c.phase("start", [&]() -> Status {
    for (std::uint64_t i = 0; i < c.params().number("containers"); ++i) {
      SBENCH_TRY_SET(const LayerId id, scratch.prepare("scale-container", image));
      SBENCH_TRY_SET(Mount mount, c.driver().mount(id));
      containers.push_back({std::move(mount), {}, 0, 0, {}});
    }
    return {};
  }));
  SBENCH_TRY(quiet(c));

  const std::uint64_t start_ns = Case::clock_ns();
  SBENCH_TRY(c.timed("work", [&] { return work_at_once(containers, files); }));
  const double seconds = static_cast<double>(Case::clock_ns() - start_ns) * 1e-9;
  SBENCH_TRY(c.settle());
  std::size_t operations = 0;
  for (const auto& container : containers) {
    c.app_read(container.bytes_read);
    c.app_wrote(container.bytes_written);
    operations += container.latencies_ns.size();
    for (const std::uint64_t latency_ns : container.latencies_ns) {
      c.latency("file", latency_ns);
    }
  }
  c.metric("operations_per_s", static_cast<double>(operations) / seconds);

  for (const auto& container : containers) {
    SBENCH_TRY(verify_container(container.mount.path(), files));
  }
  return c.phase("stop", [&]() -> Status {
    for (auto& container : containers) {
      SBENCH_TRY(container.mount.release());
    }
    return scratch.remove_all();
  });
}

const RegisterWorkload kRegistered{{
    .name = "scale.containers",
    .summary = "containers of one image that all read and write at the same time",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"containers", "containers at work", {{{"2"}, {}, {"1", "10"}, {"1", "10", "100"}}}},
               {"files", "files of the image", {{{"50"}, {}, {"500"}, {"500"}}}}},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
