// diff.cpp: what packing a container's changes costs, by files in the image and files changed.
//
// A driver that reads the layer alone pays for the changes; one that compares two
// trees pays for the image. The metrics hold both numbers, for a fit of
// a + b·image files + c·changed files.
#include <fcntl.h>

#include <algorithm>
#include <set>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/measured.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAppended = 100;
constexpr std::uint64_t kUnpackedMax = 1000;  ///< files of the biggest image whose diffs are unpacked to be checked

/// Of ten changes, seven files grow, two are new and one is deleted.
struct Plan {
  std::map<std::string, Change::Kind> changes;
  std::uint64_t bytes = 0;
};

Result<Plan> change_files(const fs::path& root, const std::vector<SmallFile>& files, std::uint64_t changed) {
  Plan plan;
  const std::size_t step = files.size() / changed;
  for (std::uint64_t i = 0; i < changed; ++i) {
    const SmallFile& file = files[i * step];
    const fs::path path = root / file.path;
    if (i % 10 == 9) {
      SBENCH_TRY(remove_tree(path));
      plan.changes[file.path] = Change::Kind::deleted;
    } else if (i % 10 >= 7) {
      SBENCH_TRY(make_file(path.string() + "-new", append_content(file), file.size_bytes));
      plan.changes[file.path + "-new"] = Change::Kind::added;
      plan.bytes += file.size_bytes;
    } else {
      SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY));
      SBENCH_TRY(write_range(fd.get(), append_content(file), file.size_bytes, kAppended, path));
      plan.changes[file.path] = Change::Kind::modified;
      plan.bytes += file.size_bytes + kAppended;
    }
  }
  return plan;
}

/// Directories may be listed as modified (a union driver copied them up) or not.
Status verify_changes(const std::vector<Change>& found, const Plan& plan) {
  std::size_t files = 0;
  for (const auto& change : found) {
    const auto expected = plan.changes.find(change.path);
    if (expected == plan.changes.end()) {
      const bool folder = change.path.find("/f") == std::string::npos && change.kind == Change::Kind::modified;
      SBENCH_TRY(verify(folder, fmt::format("{} was not changed, yet it is listed", change.path)));
      continue;
    }
    SBENCH_TRY(
        verify(change.kind == expected->second, fmt::format("{} is listed as {}", change.path, letter(change.kind))));
    ++files;
  }
  return verify(files == plan.changes.size(), fmt::format("{} of {} changes are listed", files, plan.changes.size()));
}

/// Unpacks the diff on another container of the image and reads every changed file there.
Status verify_diff(Case& c, const LayerId& container, const LayerId& image, const std::vector<SmallFile>& files,
                   const Plan& plan) {
  MemorySink packed;
  SBENCH_TRY(c.driver().diff(container, image, packed));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId copy, scratch.prepare("verify-diff", image));
  MemorySource source(packed.data());
  SBENCH_TRY_SET([[maybe_unused]] const auto bytes, c.driver().apply(copy, source));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(copy));
  std::size_t found = 0;
  for (const auto& file : files) {
    const fs::path path = mount.path() / file.path;
    if (const auto change = plan.changes.find(file.path); change != plan.changes.end()) {
      ++found;
      SBENCH_TRY(change->second == Change::Kind::deleted ? verify(!fs::exists(path), path.string() + " is gone")
                                                         : verify_small_file(path, file, kAppended));
    } else if (plan.changes.contains(file.path + "-new")) {
      ++found;
      SBENCH_TRY(verify_file(path.string() + "-new", append_content(file), file.size_bytes));
    }
  }
  SBENCH_TRY(mount.release());
  SBENCH_TRY(verify(found == plan.changes.size(), "every change was looked at"));
  return scratch.remove_all();
}

Status run(Case& c) {
  const std::uint64_t count = c.params().number("files");
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("diff", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  const auto files = small_files(c, count);
  SBENCH_TRY_SET(const Plan plan, change_files(mount.path(), files, c.params().number("changed")));
  SBENCH_TRY(mount.release());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY_SET(const std::uint64_t tar_bytes, timed_diff(c, container, image));
  c.metric("image_files", static_cast<double>(count));
  c.metric("changed_files", static_cast<double>(plan.changes.size()));
  SBENCH_TRY_SET(const auto changes, changes_phase(c, container, image));
  SBENCH_TRY(verify_changes(changes, plan));
  SBENCH_TRY(verify(tar_bytes >= plan.bytes, "the diff holds all changed content"));
  if (count <= kUnpackedMax) {
    SBENCH_TRY(verify_diff(c, container, image, files, plan));
  }
  return scratch.remove_all();
}

/// Three points are enough for the quick fit.
bool keep(const Params& params, Profile profile) {
  return profile != Profile::quick || params.number("files") == 500 || params.number("changed") == 10;
}

const RegisterWorkload kRegistered{{
    .name = "layer_build.diff",
    .summary = "packing a container's changes, by files in the image and files changed",
    .version = 2,  // 2: a short diff is the median of several
    .cache = "warm",
    .durability = "none",
    .params = {{"files",
                "files in the image",
                {{{"50"}, {"500", "2500"}, {"500", "2500", "10000"}, {"500", "10000", "100000"}}}},
               {"changed", "files changed", {{{"10"}, {"10", "200"}, {"10", "200", "500"}, {"10", "100", "500"}}}}},
    .keep = keep,
    .run = run,
}};

}  // namespace
}  // namespace sbench
