// first_write.cpp: what the first write to a file of a lower layer costs.
//
// 4 KiB in the middle of the file, synced: a driver that copies whole files pays
// for the file, one that shares blocks pays for the block. A second write to the
// same file follows as a phase, for what is paid only once.
#include <fcntl.h>

#include <algorithm>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// open, write, fsync, close: what an application does; each call has a latency of its own.
Status write_synced(Case& c, std::string_view prefix, const fs::path& path, std::span<const std::byte> data,
                    std::uint64_t offset) {
  const auto name = [&](const char* call) { return fmt::format("{}{}", prefix, call); };
  const std::string open_name = name("open");
  const std::string write_name = name("write");
  const std::string fsync_name = name("fsync");
  Fd fd;
  SBENCH_TRY(c.op(open_name, [&]() -> Status {
    SBENCH_TRY_SET(fd, open_file(path, O_WRONLY));
    return {};
  }));
  SBENCH_TRY(c.op(write_name, [&] { return write_bytes(fd.get(), data, offset, path); }));
  SBENCH_TRY(c.op(fsync_name, [&] { return fsync_fd(fd.get(), path); }));
  fd.reset();
  return {};
}

Status run(Case& c) {
  const std::uint64_t size = c.params().bytes("size");
  const std::uint64_t touched = std::min(c.params().bytes("touched"), size);
  const bool cold = c.params().text("cache") == "cold";
  const Content base = lower_content(c, size);
  SBENCH_TRY_SET(const LayerId image, lower_file_stack(c, size, static_cast<unsigned>(c.params().number("depth"))));

  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("first-write", image));
  if (cold) {
    SBENCH_TRY(go_cold(c, container, kLowerProbe));
  }
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  const fs::path file = mount.path() / kLowerFile;
  if (!cold) {
    SBENCH_TRY_SET([[maybe_unused]] const auto read, read_through(file));
  }
  const Patch patch{(size - touched) / 2, touched, Content(content_seed(c) + 1)};
  std::vector<std::byte> data(touched);
  patch.content.fill(patch.offset, data);
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(c.timed("first_write", [&] { return write_synced(c, "", file, data, patch.offset); }));
  c.app_wrote(touched);
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));
  SBENCH_TRY(c.phase("second_write", [&] { return write_synced(c, "second_", file, data, patch.offset); }));

  SBENCH_TRY(verify_file(file, base, size, patch));
  SBENCH_TRY(mount.release());
  {
    SBENCH_TRY_SET(Mount lower, c.driver().mount(image));
    SBENCH_TRY(verify_file(lower.path() / kLowerFile, base, size));
    SBENCH_TRY(lower.release());
  }
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

/// Depth costs look-ups, not data: deep stacks need no big files.
bool keep(const Params& params, Profile) { return params.number("depth") == 1 || params.bytes("size") <= kMiB; }

const RegisterWorkload kRegistered{{
    .name = "copy_up.first_write",
    .summary = "first synced write of a few KiB to a file of a lower layer",
    .version = 1,
    .cache = "cache",
    .durability = "fsync-per-op",
    .params =
        {{"size",
          "bytes of the lower file",
          {{{"64K"}, {"64K", "16M", "64M"}, {"64K", "1M", "16M", "64M"}, {"64K", "1M", "16M", "64M", "256M"}}}},
         {"touched", "bytes written, in the middle", {{{"4K"}, {"4K"}, {"4K"}, {"4K", "64K", "1M"}}}},
         {"depth",
          "layers of the image; the file is in the lowest",
          {{{"2"}, {"1", "8"}, {"1", "8", "32"}, {"1", "8", "32", "64", "120"}}}},
         {"cache",
          "whether the file is cached",
          {{{"cold", "warm"}, {"cold", "warm"}, {"cold", "warm"}, {"cold", "warm"}}}}},
    .keep = keep,
    .run = run,
}};

}  // namespace
}  // namespace sbench
