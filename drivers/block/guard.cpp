#include "drivers/block/guard.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/block/signature.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr int kPassingPatience_ms = 500;
constexpr int kPassingStep_ms = 50;

/// What a loop device stands on is used by whoever else uses that, however many loop devices lie between.
std::vector<DeviceUse> backing_uses(int fd, dev_t loop, const SystemPlaces& places) {
  const auto backing = loop_backing(fd, loop, places);
  if (!backing) {
    return {};
  }
  std::vector<DeviceUse> uses;
  if (backing->device != 0) {
    DeviceFamily family = family_of(backing->device, places);
    family.ignored_loop = loop;
    uses = find_device_uses(family, places);
    for (const auto& [number, name] : family.members) {  // a partition's disk may be one, too
      const Fd below(::open(("/dev/" + name).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
      const auto deeper = below.valid() ? backing_uses(below.get(), number, places) : std::vector<DeviceUse>();
      uses.insert(uses.end(), deeper.begin(), deeper.end());
    }
  } else {
    uses = find_file_uses(backing->file, places);
  }
  for (auto& use : uses) {
    use.what = fmt::format("stands on {}, which {}", backing->path, use.what);
  }
  return uses;
}

/// Everything that uses the device, except what only libblkid sees.
std::vector<DeviceUse> uses_of(int fd, dev_t device, bool claimed, const SystemPlaces& places) {
  auto uses = find_device_uses(family_of(device, places), places);
  const auto below = backing_uses(fd, device, places);
  uses.insert(uses.end(), below.begin(), below.end());
  if (uses.empty() && !claimed) {
    uses.push_back({"is claimed by something that shows itself nowhere: a file system that was unmounted lazily, one "
                    "mounted in a namespace without processes, or a pool in the kernel",
                    "let go of it (a restart does), or name another device"});
  }
  return uses;
}

bool only_passing(const std::vector<DeviceUse>& uses) {
  return !uses.empty() && std::all_of(uses.begin(), uses.end(), [](const auto& use) { return use.passing; });
}

/// Calls `look` (→ Result<bool>: whether all is well) until it is, or for `patience_ms` by the clock: a look takes as
/// long as it takes.
template <typename Look>
Status look_until(int patience_ms, Look&& look) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    const bool is_last = std::chrono::steady_clock::now() >= end;
    SBENCH_TRY_SET(const bool done, look());
    if (done || is_last) {
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPassingStep_ms));
  }
}

Status unless_used(const std::string& path, const std::vector<DeviceUse>& uses) {
  return uses.empty() ? Status() : Status(plain_error(EBUSY, "{} {}; {}", path, uses.front().what, uses.front().remedy));
}

}  // namespace

Result<DeviceFacts> inspect_device(const fs::path& path, const SystemPlaces& places) {
  DeviceFacts facts;
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  if (error) {
    return make_error(error.value(), "cannot find the device {}", path.string());
  }
  facts.path = resolved.string();
  struct stat status {};
  if (::stat(facts.path.c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", facts.path);
  }
  facts.is_block_device = S_ISBLK(status.st_mode);
  if (!facts.is_block_device) {
    return facts;
  }
  SBENCH_TRY_SET(const Fd fd, open_file(facts.path, O_RDONLY | O_NOFOLLOW));
  const dev_t device = status.st_rdev;
  if (::fstat(fd.get(), &status) != 0 || !S_ISBLK(status.st_mode) || status.st_rdev != device) {
    return plain_error(EBUSY, "{} was replaced by another file just now", facts.path);
  }
  int read_only = 0;
  if (::ioctl(fd.get(), BLKGETSIZE64, &facts.size_bytes) != 0 || ::ioctl(fd.get(), BLKROGET, &read_only) != 0) {
    return errno_error("cannot inspect {}", facts.path);
  }
  facts.read_only = read_only != 0;
  const std::string own = fmt::format("/proc/self/fd/{}", fd.get());  // the same device, whatever its name says now
  SBENCH_TRY(look_until(kPassingPatience_ms, [&]() -> Result<bool> {
    if (!facts.claim.valid()) {
      facts.claim = Fd(::open(own.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    }
    facts.uses = uses_of(fd.get(), device, facts.claim.valid(), places);
    return !only_passing(facts.uses);
  }));
  SBENCH_TRY_SET(const DeviceContent content, read_content(fd.get(), facts.path, family_of(device, places), places));
  facts.signatures = content.signatures;
  facts.uses.insert(facts.uses.end(), content.memberships.begin(), content.memberships.end());
  return facts;
}

void require_formattable(const DeviceFacts& facts, std::uint64_t size_bytes_min, bool wipe) {
  const std::string& path = facts.path;
  if (!facts.is_block_device) {
    throw UsageError("{} is not a block device; name one, or leave --device out to use an image file", path);
  }
  if (!facts.uses.empty()) {
    throw UsageError("{} {}; {}", path, facts.uses.front().what, facts.uses.front().remedy);
  }
  if (facts.read_only) {
    throw UsageError("{} is read-only; name a writable device", path);
  }
  if (facts.size_bytes < size_bytes_min) {
    throw UsageError("{} is too small: it has {}, at least {} are needed; name another device", path,
                     human_size(static_cast<double>(facts.size_bytes)), human_size(static_cast<double>(size_bytes_min)));
  }
  if (!facts.signatures.empty() && !wipe) {
    throw UsageError("{} carries {}; add --wipe to overwrite it, or name another device", path,
                     fmt::join(facts.signatures, ", "));
  }
}

Result<DeviceFacts> claim_unused(const fs::path& path, int patience_ms, const SystemPlaces& places) {
  DeviceFacts facts;
  SBENCH_TRY(look_until(patience_ms, [&]() -> Result<bool> {
    facts = DeviceFacts();  // its claim would be in the way
    SBENCH_TRY_SET(facts, inspect_device(path, places));
    return facts.uses.empty();
  }));
  if (!facts.is_block_device) {
    return plain_error(ENOTBLK, "{} is not a block device", path.string());
  }
  SBENCH_TRY(unless_used(path.string(), facts.uses));
  return facts;
}

Status check_unused(const fs::path& path, int patience_ms, const SystemPlaces& places) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return errno_error("cannot find {}", path.string());
  }
  if (S_ISBLK(status.st_mode)) {
    const auto facts = claim_unused(path, patience_ms, places);
    return facts.ok() ? Status() : Status(facts.error());
  }
  if (!S_ISREG(status.st_mode)) {
    return plain_error(ENOTBLK, "{} is neither a block device nor an image file", path.string());
  }
  std::vector<DeviceUse> uses;
  SBENCH_TRY(look_until(patience_ms, [&]() -> Result<bool> {
    uses = find_file_uses({status.st_dev, status.st_ino, path.string()}, places);
    return uses.empty();
  }));
  return unless_used(path.string(), uses);
}

}  // namespace sbench
