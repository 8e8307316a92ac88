// depth.cpp: stacking layers until the driver refuses or the wanted number is reached.
//
// Every layer adds one file to the same folder. At depths 1, 8, 32, 64 and 120 a
// container is prepared and mounted, and files of the lowest layer are looked up
// with nothing cached for that mount.
#include <sys/stat.h>

#include <algorithm>

#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kCheckpoints[] = {1, 8, 32, 64, 120};
constexpr unsigned kBottomFiles = 64;
constexpr std::uint64_t kFileBytes = 512;

std::string layer_file(unsigned level) { return fmt::format("stack/layer-{}", level); }
std::string bottom_file(unsigned index) { return fmt::format("stack/bottom-{}", index); }

Status write_level(const Case& c, const fs::path& root, unsigned level) {
  const Content content(content_seed(c) + level);
  if (level == 1) {
    std::error_code error;
    fs::create_directory(root / "stack", error);
    for (unsigned i = 0; i < kBottomFiles; ++i) {
      SBENCH_TRY(make_file(root / bottom_file(i), content, kFileBytes));
    }
  }
  return make_file(root / layer_file(level), content, kFileBytes);
}

/// Adds level `level` on `top`, which becomes the new top.
Status add_level(Case& c, Scratch& scratch, unsigned level, ParentId& top) {
  LayerId key;
  std::optional<Mount> mount;
  SBENCH_TRY(c.op("prepare", [&]() -> Status {
    SBENCH_TRY_SET(key, scratch.prepare("depth", top));
    return {};
  }));
  SBENCH_TRY(c.op("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(key));
    mount.emplace(std::move(made));
    return {};
  }));
  SBENCH_TRY(c.op("write", [&] { return write_level(c, mount->path(), level); }));
  SBENCH_TRY(c.op("unmount", [&] { return mount->release(); }));
  SBENCH_TRY(c.op("commit", [&]() -> Status {
    SBENCH_TRY_SET(top, scratch.commit("depth", key));
    return {};
  }));
  return {};
}

/// A container on a stack of `depth` layers: one operation each to prepare and mount, many look-ups.
Status probe_depth(Case& c, Scratch& scratch, unsigned depth, const LayerId& top) {
  LayerId key;
  std::optional<Mount> mount;
  SBENCH_TRY(c.op(fmt::format("prepare_depth_{}", depth), [&]() -> Status {
    SBENCH_TRY_SET(key, scratch.prepare("depth-container", top));
    return {};
  }));
  SBENCH_TRY(c.op(fmt::format("mount_depth_{}", depth), [&]() -> Status {
    SBENCH_TRY_SET(Mount made, c.driver().mount(key));
    mount.emplace(std::move(made));
    return {};
  }));
  const std::string lookup = fmt::format("lookup_depth_{}", depth);
  const std::string absent = fmt::format("lookup_absent_depth_{}", depth);
  for (unsigned i = 0; i < kBottomFiles; ++i) {
    const fs::path path = mount->path() / bottom_file(i);
    struct stat status {};
    SBENCH_TRY(c.op(lookup, [&]() -> Status {
      return ::lstat(path.c_str(), &status) == 0 ? Status() : Status(errno_error("cannot inspect {}", path.string()));
    }));
    const std::string missing = path.string() + "-absent";
    SBENCH_TRY(c.op(absent, [&] { return verify(::lstat(missing.c_str(), &status) != 0, missing + " is absent"); }));
  }
  SBENCH_TRY(mount->release());
  return scratch.remove(key);
}

Status verify_stack(Case& c, const LayerId& top, unsigned depth) {
  SBENCH_TRY_SET(Mount mount, c.driver().mount(top));
  for (unsigned level = 1; level <= depth; ++level) {
    SBENCH_TRY(verify_file(mount.path() / layer_file(level), Content(content_seed(c) + level), kFileBytes));
  }
  return mount.release();
}

Status run(Case& c) {
  const auto wanted = static_cast<unsigned>(c.params().number("layers"));
  const int limit = c.driver().capabilities().depth_layers_max;
  Scratch scratch(c);
  SBENCH_TRY(quiet(c));
  ParentId top;
  unsigned depth = 0;
  while (depth < wanted) {
    const ParentId below = top;
    Status added = c.timed("stack", [&] { return add_level(c, scratch, depth + 1, top); });
    if (!added.ok()) {
      // A refusal is an answer here, as long as the driver announced its limit.
      SBENCH_TRY(limit > 0 && depth + 1 >= static_cast<unsigned>(limit) ? Status() : added);
      c.flag("depth_refused");
      top = below;
      break;
    }
    ++depth;
    if (std::find(std::begin(kCheckpoints), std::end(kCheckpoints), depth) != std::end(kCheckpoints)) {
      SBENCH_TRY(c.phase("probe", [&] { return probe_depth(c, scratch, depth, *top); }));
    }
  }
  SBENCH_TRY(c.settle());
  c.metric("depth_reached_layers", depth);
  c.app_wrote((depth + kBottomFiles) * kFileBytes);
  SBENCH_TRY(verify_stack(c, *top, depth));
  return c.phase("remove", [&] { return scratch.remove_all(); });
}

const RegisterWorkload kRegistered{{
    .name = "layer_build.depth",
    .summary = "stacking layers, and what prepare, mount and look-ups cost at each depth",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"layers", "layers to stack", {{{"8"}, {"32"}, {"120"}, {"200"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
