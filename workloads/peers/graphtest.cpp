// graphtest.cpp: the shape of moby's graphdriver benchmarks.
//
// diff-A-B         pack a layer of B files over one of A, 64 bytes each, 100 a folder,
//                  relative to nothing, as there, so that the whole tree is packed
// apply-100        the same with 100 and 100, unpacked on another child of the lower layer
// diff-N-layers    pack the top of N small layers
// read-N-layers    read a file of the lowest of N layers, over and over
// Shape: moby, daemon/graphdriver/graphtest/graphbench_unix.go and testutil.go. There
// closing the stream of a naive diff sleeps up to a second, which is part of their
// times; here walk and stream are timed, and nothing sleeps.
#include <fcntl.h>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/measured.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFileBytes = 64;
constexpr std::uint64_t kFilesPerFolder = 100;
constexpr unsigned kReads = 1000;

/// The files of one layer; upper layers write the same names with other content.
struct ManyFiles {
  std::uint64_t count = 0;
  std::uint64_t seed = 0;

  [[nodiscard]] Content content(std::uint64_t i) const { return Content(seed + i); }
  static fs::path path(std::uint64_t i) {
    return fmt::format("directory-{}/file-{}", i / kFilesPerFolder * kFilesPerFolder, i);
  }

  Status write(const fs::path& root) const {
    for (std::uint64_t i = 0; i < count; ++i) {
      const fs::path file = root / path(i);
      if (i % kFilesPerFolder == 0) {
        SBENCH_TRY(make_directories(file.parent_path()));
      }
      SBENCH_TRY_SET(Fd fd, open_file(file, O_WRONLY | O_CREAT | O_TRUNC, 0755));
      SBENCH_TRY(write_range(fd.get(), content(i), 0, kFileBytes, file));
    }
    return {};
  }
  /// From file `first` on.
  [[nodiscard]] Status check(const fs::path& root, std::uint64_t first = 0) const {
    for (std::uint64_t i = first; i < count; ++i) {
      SBENCH_TRY(verify_file(root / path(i), content(i), kFileBytes));
    }
    return {};
  }
};

struct Pair {
  ManyFiles lower;
  ManyFiles upper;
  ParentId base;  ///< what `lower_id` stands on: the given image, or nothing
  LayerId lower_id;
  LayerId upper_id;

  Status make(Case& c, Scratch& scratch) {
    SBENCH_TRY_SET(base, fixture_base(c));
    SBENCH_TRY_SET(lower_id,
                   scratch.written("graphtest", base, [&](const fs::path& root) { return lower.write(root); }));
    SBENCH_TRY_SET(upper_id,
                   scratch.written("graphtest", lower_id, [&](const fs::path& root) { return upper.write(root); }));
    return {};
  }
  [[nodiscard]] Status check(const fs::path& root) const {
    SBENCH_TRY(upper.check(root));
    return lower.check(root, upper.count);
  }
};

/// Unpacks `tar` on a new child of `parent` and hands its tree to `check`.
Status check_unpacked(Case& c, const ParentId& parent, const std::string& tar,
                      const std::function<Status(const fs::path&)>& check) {
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId copy, scratch.prepare("graphtest-copy", parent));
  MemorySource source(tar);
  SBENCH_TRY_SET([[maybe_unused]] const auto bytes, c.driver().apply(copy, source));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(copy));
  SBENCH_TRY(check(mount.path()));
  SBENCH_TRY(mount.release());
  return scratch.remove_all();
}

Status time_diff(Case& c, const LayerId& layer, const std::function<Status(const fs::path&)>& check) {
  SBENCH_TRY(quiet(c));
  SBENCH_TRY_SET(const std::uint64_t tar_bytes, timed_diff(c, layer, std::nullopt));
  MemorySink again;  // the same diff, kept this time, is what is looked at
  SBENCH_TRY(c.driver().diff(layer, std::nullopt, again));
  SBENCH_TRY(verify(again.data().size() == tar_bytes, "the same diff has the same size twice"));
  return check_unpacked(c, std::nullopt, again.data(), check);
}

Status diff_pair(Case& c, Scratch& scratch, std::uint64_t lower, std::uint64_t upper) {
  Pair pair{{lower, content_seed(c)}, {upper, content_seed(c) + lower}, {}, {}, {}};
  SBENCH_TRY(pair.make(c, scratch));
  SBENCH_TRY(time_diff(c, pair.upper_id, [&](const fs::path& root) { return pair.check(root); }));
  return c.phase("diff_to_parent", [&] {  // what a commit or a push packs
    CountingSink tar;
    return c.driver().diff(pair.upper_id, pair.lower_id, tar);
  });
}

Status diff_and_apply(Case& c, Scratch& scratch, std::uint64_t count) {
  Pair pair{{count, content_seed(c)}, {count, content_seed(c) + count}, {}, {}, {}};
  SBENCH_TRY(pair.make(c, scratch));
  SBENCH_TRY_SET(const LayerId copy, scratch.prepare("graphtest-apply", pair.lower_id));
  SBENCH_TRY(quiet(c));
  MemorySink tar;
  SBENCH_TRY(c.timed("diff", [&] { return c.driver().diff(pair.upper_id, std::nullopt, tar); }));
  SBENCH_TRY(c.timed("apply", [&]() -> Status {
    MemorySource source(tar.data());
    SBENCH_TRY_SET(const std::uint64_t bytes, c.driver().apply(copy, source));
    c.app_wrote(bytes);
    return {};
  }));
  SBENCH_TRY(c.settle());
  SBENCH_TRY_SET(Mount mount, c.driver().mount(copy));
  SBENCH_TRY(pair.check(mount.path()));
  return mount.release();
}

/// A base layer that holds `deep`, and `layers` small ones above it; returns the top.
Result<LayerId> deep_stack(Case& c, Scratch& scratch, std::uint64_t layers, std::uint64_t deep_bytes) {
  SBENCH_TRY_SET(ParentId top, fixture_base(c));
  SBENCH_TRY_SET(top, scratch.written("graphtest-deep", top, [&](const fs::path& root) {
    return make_file(root / "deep-file", Content(content_seed(c)), deep_bytes);
  }));
  for (std::uint64_t level = 1; level <= layers; ++level) {
    SBENCH_TRY_SET(top, scratch.written("graphtest-deep", top, [&](const fs::path& root) -> Status {
      const Content content(content_seed(c) + level);
      const fs::path folder = root / fmt::format("layer-{}", level);
      SBENCH_TRY_SET(Fd fd, open_file(root / "top-id", O_WRONLY | O_CREAT | O_TRUNC, 0755));
      SBENCH_TRY(write_range(fd.get(), content, 0, kFileBytes, root / "top-id"));
      SBENCH_TRY(make_directories(folder));
      SBENCH_TRY(make_file(folder / "layer-id", content, kFileBytes));
      return make_file(folder / "parent-id", Content(content_seed(c) + level - 1), kFileBytes);
    }));
  }
  return *top;
}

Status check_deep(const Case& c, const fs::path& root, std::uint64_t layers, std::uint64_t deep_bytes) {
  SBENCH_TRY(verify_file(root / "deep-file", Content(content_seed(c)), deep_bytes));
  SBENCH_TRY(verify_file(root / "top-id", Content(content_seed(c) + layers), kFileBytes));
  for (std::uint64_t level = 1; level <= layers; ++level) {
    const fs::path folder = root / fmt::format("layer-{}", level);
    SBENCH_TRY(verify_file(folder / "layer-id", Content(content_seed(c) + level), kFileBytes));
    SBENCH_TRY(verify_file(folder / "parent-id", Content(content_seed(c) + level - 1), kFileBytes));
  }
  return {};
}

Status diff_deep(Case& c, Scratch& scratch, std::uint64_t layers) {
  constexpr std::uint64_t kDeepBytes = std::uint64_t{128} * 128;
  SBENCH_TRY(deep_enough(c, layers + 1));
  SBENCH_TRY_SET(const LayerId top, deep_stack(c, scratch, layers, kDeepBytes));
  return time_diff(c, top, [&](const fs::path& root) { return check_deep(c, root, layers, kDeepBytes); });
}

Status read_deep(Case& c, Scratch& scratch, std::uint64_t layers) {
  constexpr std::uint64_t kDeepBytes = 12;
  SBENCH_TRY(deep_enough(c, layers + 1));
  SBENCH_TRY_SET(const LayerId top, deep_stack(c, scratch, layers, kDeepBytes));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(top));
  SBENCH_TRY(quiet(c));
  SBENCH_TRY(c.timed("read", [&]() -> Status {
    for (unsigned i = 0; i < kReads; ++i) {
      SBENCH_TRY(c.op("read", [&]() -> Status {
        SBENCH_TRY_SET(const std::uint64_t bytes, read_through(mount.path() / "deep-file"));
        return verify(bytes == kDeepBytes, "the deep file has its size");
      }));
    }
    return {};
  }));
  c.app_read(kReads * kDeepBytes);
  SBENCH_TRY(check_deep(c, mount.path(), layers, kDeepBytes));
  return mount.release();
}

Status run(Case& c) {
  const std::string& bench = c.params().text("bench");
  Scratch scratch(c);
  const auto carry_out = [&]() -> Status {
    if (bench == "diff-10-10") {
      return diff_pair(c, scratch, 10, 10);
    }
    if (bench == "diff-10-10000") {
      return diff_pair(c, scratch, 10, scaled(c, 10'000));
    }
    if (bench == "diff-10000-10") {
      return diff_pair(c, scratch, scaled(c, 10'000), 10);
    }
    if (bench == "apply-100") {
      return diff_and_apply(c, scratch, scaled(c, 100));
    }
    const std::uint64_t layers = scaled(c, bench.find("125") == std::string::npos ? 20 : 125, 4);
    return bench.starts_with("diff") ? diff_deep(c, scratch, layers) : read_deep(c, scratch, layers);
  };
  SBENCH_TRY(carry_out());
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const std::vector<std::string> kBenches = {"diff-10-10",     "diff-10-10000",   "diff-10000-10",  "apply-100",
                                           "diff-20-layers", "diff-125-layers", "read-20-layers", "read-125-layers"};

/// The same work as the others, at a fraction of the size.
const std::vector<std::string> kSmokeBenches = {"diff-10-10000", "apply-100", "diff-125-layers", "read-125-layers"};

const RegisterWorkload kRegistered{{
    .name = "peers.graphtest",
    .summary = "moby's graphdriver benchmarks: diffs of small and large layers, apply, deep stacks",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"bench", "which of its benchmarks", {{kSmokeBenches, {}, kBenches, kBenches}}},
               scale_param({"64"}, {}, {"10"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
