// dirty_start.cpp: starting and stopping containers while another one has much to write back.
//
// A neighbour leaves `dirty` bytes written and not synced in its layer; then containers
// are prepared, mounted, read from, written to, and unmounted. A driver whose unmount or
// commit syncs a whole file system pays for the neighbour's pages (moby#47630,
// containerd#6406). How much was dirty when the first container started is kept.
#include <fcntl.h>

#include <algorithm>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kImageFiles = 50;
constexpr std::uint64_t kOwnBytes = 4 * kKiB;

/// Dirty plus Writeback of /proc/meminfo.
Result<std::uint64_t> dirty_bytes() {
  SBENCH_TRY_SET(const std::string text, read_text("/proc/meminfo"));
  std::uint64_t kib = 0;
  for (const std::string name : {"Dirty:", "Writeback:"}) {
    const auto at = text.find("\n" + name);
    kib += at == std::string::npos ? 0 : std::stoull(text.substr(at + 1 + name.size()));
  }
  return kib * kKiB;
}

Status start_and_stop(Case& c, Scratch& scratch, const LayerId& image, const std::vector<SmallFile>& files) {
  LayerId container;
  std::optional<Mount> mount;
  SBENCH_TRY(c.timed("start", [&] {
    return c.op("start", [&]() -> Status {
      SBENCH_TRY_SET(container, scratch.prepare("dirty-start", image));
      SBENCH_TRY_SET(Mount made, c.driver().mount(container));
      mount.emplace(std::move(made));
      for (const auto& file : files) {
        SBENCH_TRY_SET(const std::uint64_t bytes, read_through(mount->path() / file.path));
        SBENCH_TRY(verify(bytes == file.size_bytes, fmt::format("{} has its size", file.path)));
      }
      return {};
    });
  }));
  const Content own(content_seed(c) + 1);
  SBENCH_TRY(make_file(mount->path() / "own", own, kOwnBytes));
  c.app_wrote(kOwnBytes);
  SBENCH_TRY(c.timed("stop", [&] { return c.op("stop", [&] { return mount->release(); }); }));
  SBENCH_TRY_SET(Mount again, c.driver().mount(container));
  SBENCH_TRY(verify_file(again.path() / "own", own, kOwnBytes));
  return again.release();
}

Status run(Case& c) {
  const std::uint64_t dirty = c.params().bytes("dirty");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, kImageFiles));
  const auto files = small_files(c, kImageFiles);
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId neighbour, scratch.prepare("dirty-neighbour", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(neighbour));
  const fs::path file = mount.path() / "dirty";
  const Content content(content_seed(c));
  SBENCH_TRY(quiet(c));
  for (std::uint64_t i = 0; i < c.params().number("containers"); ++i) {
    SBENCH_TRY_SET(Fd fd, open_file(file, O_WRONLY | O_CREAT, 0644));
    SBENCH_TRY(write_range(fd.get(), content, 0, dirty, file));  // anew for each: a stop may have written all back
    c.app_wrote(dirty);
    SBENCH_TRY_SET(const std::uint64_t now, dirty_bytes());
    if (i == 0) {
      c.metric("dirty_bytes_at_start", static_cast<double>(now));
    }
    SBENCH_TRY(start_and_stop(c, scratch, image, files));
  }
  SBENCH_TRY(c.settle());

  SBENCH_TRY(verify_file(file, content, dirty));
  for (const auto& each : files) {
    SBENCH_TRY(verify_small_file(mount.path() / each.path, each));
  }
  SBENCH_TRY(mount.release());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "scale.dirty_start",
    .summary = "start and stop of containers while a neighbour's written pages are not yet on the device",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"dirty",
                "bytes the neighbour leaves to be written back",
                {{{"1M"}, {}, {"0", "64M"}, {"0", "256M", "1G"}}}},
               {"containers", "containers started one after the other", {{{"2"}, {}, {"4"}, {"4"}}}}},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
