// triggers.cpp: which operations on a lower file make a driver copy it, and what that costs.
//
// Every operation is followed by an fsync of what it touched. Whether data was
// copied is told by the device: at least half the file's size was written.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/user_namespace.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"
#include "workloads/workload.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWritten = 4 * kKiB;
constexpr unsigned kOwner = 1234;
constexpr unsigned kMode = 0600;
constexpr std::int64_t kTimeS = 1'600'000'000;

struct Target {
  fs::path file;
  fs::path other;  ///< a second name in the same folder
  std::uint64_t size = 0;
  Content added;  ///< what append, patch and mmap_write put in

  [[nodiscard]] std::uint64_t middle() const { return size / 2; }
};

Status called(int outcome, const char* what, const fs::path& path) {
  return outcome == 0 ? Status() : Status(errno_error("cannot {} {}", what, path.string()));
}

Status write_added(const Target& t, std::uint64_t offset) {
  SBENCH_TRY_SET(Fd fd, open_file(t.file, O_WRONLY));
  return write_range(fd.get(), t.added, offset, kWritten, t.file);
}

Status write_through_mapping(const Target& t) {
  SBENCH_TRY_SET(Fd fd, open_file(t.file, O_RDWR));
  void* const mapped =
      ::mmap(nullptr, kWritten, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), static_cast<off_t>(t.middle()));
  if (mapped == MAP_FAILED) {
    return errno_error("cannot map {}", t.file.string());
  }
  t.added.fill(t.middle(), {static_cast<std::byte*>(mapped), kWritten});
  Status synced = called(::msync(mapped, kWritten, MS_SYNC), "sync the mapping of", t.file);
  ::munmap(mapped, kWritten);
  return synced;
}

/// What the file and its other name must be afterwards.
struct Outcome {
  std::uint64_t size = 0;
  std::uint64_t changed_at = 0;
  std::uint64_t changed_bytes = 0;
  bool renamed = false;
};

struct Trigger {
  const char* name;
  bool writes;
  bool names;  ///< changes the folder, which is then synced too
  Status (*act)(const Target&);
  Outcome (*outcome)(const Target&);
  bool (*metadata_holds)(const struct stat&);
};

Outcome same(const Target& t) { return {t.size}; }
bool any(const struct stat&) { return true; }

constexpr std::array kTriggers = {
    Trigger{"append", true, false, [](const Target& t) { return write_added(t, t.size); },
            [](const Target& t) {
              return Outcome{t.size + kWritten, t.size, kWritten};
            },
            any},
    Trigger{"patch", true, false, [](const Target& t) { return write_added(t, t.middle()); },
            [](const Target& t) {
              return Outcome{t.size, t.middle(), kWritten};
            },
            any},
    Trigger{"truncate", false, false,
            [](const Target& t) {
              return called(::truncate(t.file.c_str(), static_cast<off_t>(t.middle())), "truncate", t.file);
            },
            [](const Target& t) { return Outcome{t.middle()}; }, any},
    Trigger{"open_only", false, false,
            [](const Target& t) -> Status {
              SBENCH_TRY_SET(Fd fd, open_file(t.file, O_RDWR));
              return {};
            },
            same, any},
    Trigger{
        "chown", false, false,
        [](const Target& t) { return called(::chown(t.file.c_str(), kOwner, kOwner), "change the owner of", t.file); },
        same, [](const struct stat& s) { return s.st_uid == kOwner && s.st_gid == kOwner; }},
    Trigger{"chmod", false, false,
            [](const Target& t) { return called(::chmod(t.file.c_str(), kMode), "change the mode of", t.file); }, same,
            [](const struct stat& s) { return (s.st_mode & 07777) == kMode; }},
    Trigger{"utimes", false, false,
            [](const Target& t) {
              const std::array<timespec, 2> times = {{{kTimeS, 0}, {kTimeS, 0}}};
              return called(::utimensat(AT_FDCWD, t.file.c_str(), times.data(), 0), "set the times of", t.file);
            },
            same, [](const struct stat& s) { return s.st_mtim.tv_sec == kTimeS; }},
    Trigger{"setxattr", false, false,
            [](const Target& t) {
              return called(::setxattr(t.file.c_str(), "user.sbench", "set", 3, 0), "set an attribute of", t.file);
            },
            same, any},
    Trigger{"link", false, true,
            [](const Target& t) { return called(::link(t.file.c_str(), t.other.c_str()), "link", t.file); }, same,
            [](const struct stat& s) { return s.st_nlink == 2; }},
    Trigger{"rename", false, true,
            [](const Target& t) { return called(::rename(t.file.c_str(), t.other.c_str()), "rename", t.file); },
            [](const Target& t) { return Outcome{.size = t.size, .renamed = true}; }, any},
    Trigger{"mmap_write", true, false, write_through_mapping,
            [](const Target& t) {
              return Outcome{t.size, t.middle(), kWritten};
            },
            any},
};

Status verify_outcome(const Trigger& trigger, const Target& t, const Content& base) {
  const Outcome outcome = trigger.outcome(t);
  const fs::path& now = outcome.renamed ? t.other : t.file;
  SBENCH_TRY(verify_file(now, base, outcome.size, Patch{outcome.changed_at, outcome.changed_bytes, t.added}));
  SBENCH_TRY(verify(!outcome.renamed || !fs::exists(t.file), "the old name of a renamed file is gone"));
  struct stat status {};
  SBENCH_TRY(called(::lstat(now.c_str(), &status), "inspect", now));
  SBENCH_TRY(verify(trigger.metadata_holds(status),
                    fmt::format("{} has the metadata {} gave it", now.string(), trigger.name)));
  if (trigger.name == std::string_view("setxattr")) {
    std::array<char, 8> value{};
    const ssize_t count = ::getxattr(now.c_str(), "user.sbench", value.data(), value.size());
    SBENCH_TRY(verify(count == 3 && std::memcmp(value.data(), "set", 3) == 0, "the attribute has its value"));
  }
  return {};
}

Status run(Case& c) {
  const std::uint64_t size = c.params().bytes("size");
  const std::string& op = c.params().text("op");
  const auto trigger = std::find_if(kTriggers.begin(), kTriggers.end(), [&](const Trigger& t) { return t.name == op; });
  SBENCH_CHECK(trigger != kTriggers.end());
  if (op == "chown" && !may_give_files_away()) {
    return c.cannot_run(kNoOtherOwners, kSubordinateIds);
  }
  const Content base = lower_content(c, size);
  SBENCH_TRY_SET(const LayerId image, lower_file_stack(c, size, 1));

  Scratch scratch(c);
  SBENCH_TRY_SET(const LayerId container, scratch.prepare("trigger", image));
  SBENCH_TRY_SET(Mount mount, c.driver().mount(container));
  const fs::path file = mount.path() / kLowerFile;
  const Target target{file, file.string() + "-other", size, Content(content_seed(c) + 2)};
  SBENCH_TRY_SET([[maybe_unused]] const auto read, read_through(file));
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(c.timed("trigger", [&]() -> Status {
    SBENCH_TRY(c.op(op, [&] { return trigger->act(target); }));
    return c.op("fsync", [&]() -> Status {
      SBENCH_TRY(fsync_path(trigger->outcome(target).renamed ? target.other : target.file));
      return trigger->names ? fsync_path(target.file.parent_path()) : Status();
    });
  }));
  c.app_wrote(trigger->writes ? kWritten : 0);
  SBENCH_TRY_SET(const Case::DeviceDelta device, c.device_delta());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  if (device.counted) {
    c.metric("copied_bytes", static_cast<double>(device.bytes_written));
    c.metric("copied", device.bytes_written >= size / 2 ? 1 : 0);
  }
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));

  SBENCH_TRY(verify_outcome(*trigger, target, base));
  SBENCH_TRY(mount.release());
  {
    SBENCH_TRY_SET(Mount lower, c.driver().mount(image));
    SBENCH_TRY(verify_file(lower.path() / kLowerFile, base, size));
    SBENCH_TRY(lower.release());
  }
  return scratch.remove_all();
}

std::vector<std::string> trigger_names() {
  std::vector<std::string> names;
  names.reserve(kTriggers.size());
  for (const auto& trigger : kTriggers) {
    names.emplace_back(trigger.name);
  }
  return names;
}

/// Below full, the biggest file is only chowned: enough to see whether metadata changes copy data.
bool keep(const Params& params, Profile profile) {
  return profile == Profile::full || params.bytes("size") <= 16 * kMiB || params.text("op") == "chown";
}

const RegisterWorkload kRegistered{{
    .name = "copy_up.triggers",
    .summary = "one operation on a lower file: its time, its bytes, and whether it copied the file",
    .version = 1,
    .cache = "warm",
    .durability = "fsync-per-op",
    .params = {{"op",
                "what is done to the file",
                {{trigger_names(), trigger_names(), trigger_names(), trigger_names()}}},
               {"size", "bytes of the lower file", {{{"1M"}, {"16M", "64M"}, {"16M", "64M"}, {"16M", "64M"}}}}},
    .keep = keep,
    .run = run,
}};

}  // namespace
}  // namespace sbench
