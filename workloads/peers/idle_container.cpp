// idle_container.cpp: a container of an image of 100 000 files in which nothing was changed.
//
// diff     what `docker diff`, a commit and a push have to find out: that there is
//          nothing; free for a driver that reads the layer alone, a walk over the image
//          for one that compares trees (moby#39428)
// delete   removing the container: nothing but the driver's own bookkeeping, or a whole
//          copy of the image
#include "workloads/content/fixtures.h"
#include "workloads/content/measured.h"
#include "workloads/content/scaled.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

Status verify_image_files(Case& c, const LayerId& image, const std::vector<SmallFile>& files) {
  SBENCH_TRY_SET(Mount mount, c.driver().mount(image));
  for (const auto& file : files) {
    SBENCH_TRY(verify_small_file(mount.path() / file.path, file));
  }
  return mount.release();
}

Status time_diff(Case& c, const LayerId& container, const LayerId& image) {
  SBENCH_TRY_SET([[maybe_unused]] const auto tar_bytes, timed_diff(c, container, image));
  SBENCH_TRY_SET(const auto changes, changes_phase(c, container, image));
  return verify(changes.empty(), fmt::format("an idle container has no changes, not {}", changes.size()));
}

Status time_delete(Case& c, Scratch& scratch, const LayerId& container) {
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(c.timed("delete", [&] { return scratch.remove(container); }));
  return finish_removal(c, before, {container});
}

Status run(Case& c) {
  const std::uint64_t count = scaled(c, 100'000);
  SBENCH_TRY_SET(const LayerId image, small_file_layer(c, count));
  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("idle", image));
  {
    SBENCH_TRY_SET(Mount mount, c.driver().mount(container));  // it ran once
    SBENCH_TRY(mount.release());
  }
  SBENCH_TRY(quiet(c));
  const bool deletes = c.params().text("op") == "delete";
  SBENCH_TRY(deletes ? time_delete(c, scratch, container) : time_diff(c, container, image));
  SBENCH_TRY(verify_image_files(c, image, small_files(c, count)));
  return scratch.remove_all();
}

const std::vector<std::string> kOps = {"diff", "delete"};

const RegisterWorkload kRegistered{{
    .name = "peers.idle_container",
    .summary = "diff, and deletion, of an unchanged container of an image of 100 000 files",
    .version = 1,
    .cache = "warm",
    .durability = "none",
    .params = {{"op", "what is timed", {{kOps, {}, kOps, kOps}}}, scale_param({"2000"}, {}, {"20"}, {"1"})},
    .run = where_it_fits(run),
}};

}  // namespace
}  // namespace sbench
