#include "drivers/backing/backing.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/base/user_namespace.h"

namespace sbench {

namespace {

struct Maker {
  BackingType type;
  const char* name;
  const char* package;
  std::uint64_t size_bytes_min;
  std::vector<std::string> command;
};

const Maker& maker_of(BackingType type) {
  static const std::array<Maker, 5> makers = {{
      {BackingType::ext4,
       "ext4",
       "e2fsprogs",
       32 * kMiB,
       {"mkfs.ext4", "-q", "-F", "-i", "8192", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"}},
      {BackingType::xfs, "xfs", "xfsprogs", 300 * kMiB, {"mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1"}},
      {BackingType::btrfs, "btrfs", "btrfs-progs", 128 * kMiB, {"mkfs.btrfs", "-q", "-f", "-K"}},
      {BackingType::zfs, "zfs", "zfsutils-linux", 0, {"zpool"}},
      {BackingType::folder, "folder", "", 0, {}},
  }};
  return makers[static_cast<std::size_t>(type)];
}

constexpr int kUnmountPatience_ms = 2000;

/// struct xfs_fs_eofblocks and its ioctl (linux/fs/xfs/libxfs/xfs_fs.h), which no installed header has.
struct XfsFreeBlocks {
  std::uint32_t version = 1;
  std::uint32_t flags = 1;  ///< XFS_EOF_FLAGS_SYNC: wait
  std::uint32_t filters[4] = {};
  std::uint64_t rest[13] = {};
};
static_assert(sizeof(XfsFreeBlocks) == 128);
constexpr auto kXfsFreeBlocks = _IOR('X', 58, XfsFreeBlocks);

/// Whether a file in `folder` can be cloned (FICLONE), by doing so.
bool can_clone(const std::filesystem::path& folder) {
  const Fd source(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  const Fd target(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return source.valid() && target.valid() && ::write(source.get(), "x", 1) == 1 &&
         ::ioctl(target.get(), FICLONE, source.get()) == 0;
}

}  // namespace

const char* to_string(BackingType type) { return maker_of(type).name; }

OptionSpec backing_option() {
  return {"backing", "ext4", "file system the layers are kept on; folder: one that is there, what an ordinary user has",
          {"ext4", "xfs", "btrfs", "folder"}};
}

BackingType parse_backing(const Options& options) {
  const auto& name = options.at("backing");
  for (const auto type : {BackingType::ext4, BackingType::xfs, BackingType::btrfs, BackingType::folder}) {
    if (name == to_string(type)) {
      return type;
    }
  }
  const bool options_are_complete = false;  // complete_options() was not called
  SBENCH_CHECK(options_are_complete);
  return BackingType::ext4;
}

Availability probe_backing(BackingType type) {
  const Maker& maker = maker_of(type);
  if (!may_mount()) {
    return Availability::no("mounting needs root (CAP_SYS_ADMIN)", "run sbench as root, or with --in uml");
  }
  if (type == BackingType::folder) {
    return in_user_namespace() ? Availability::yes()
                               : Availability::no("backing=folder is what an ordinary user's run is kept on; root has block devices",
                                                  "leave backing out, or run sbench as an ordinary user");
  }
  if (in_user_namespace()) {
    return Availability::no(fmt::format("{} is made on a block device and mounted by the machine's root alone, not in a user namespace",
                                        maker.name),
                            "run sbench as root, or with --in uml");
  }
  if (find_program(maker.command.front()).empty()) {
    return Availability::no(fmt::format("{} is not installed", maker.command.front()),
                            fmt::format("install the package {}", maker.package));
  }
  if (!kernel_has_file_system(maker.name)) {
    return Availability::no(
        fmt::format("the kernel has no {}", maker.name),
        fmt::format("use a kernel with {}, or load its module: modprobe {}", maker.name, maker.name));
  }
  return Availability::yes();
}

Status Backing::format(Device& device, BackingType type) {
  SBENCH_CHECK(type != BackingType::zfs);
  if (type == BackingType::folder) {
    return device.kind() == Device::Kind::folder ? device.discard_all()
                                                 : plain_error(ENOTSUP, "{} is no folder, as backing=folder wants", device.path());
  }
  const Maker& maker = maker_of(type);
  if (device.size_bytes() < maker.size_bytes_min) {
    return plain_error(ENOSPC, "{} is too small for {}: it has {}, at least {} are needed", device.path(), maker.name,
                       human_size(static_cast<double>(device.size_bytes())), format_size(maker.size_bytes_min));
  }
  device.release_exclusive();
  auto command = maker.command;
  command.push_back(device.path());
  SBENCH_TRY_SET([[maybe_unused]] const auto output, run_checked(command));
  return {};
}

Result<Backing> Backing::mount(Device& device, BackingType type, const std::filesystem::path& root,
                               const std::string& data) {
  Backing backing(root, type);
  if (type == BackingType::folder) {
    SBENCH_TRY(backing.bind(device.store_folder()));
    return backing;
  }
  backing.mount_options_ = data.empty() ? "noatime" : "noatime," + data;
  if (is_mount_point(root)) {
    const auto there = find_mount(root);
    if (there && there->source == device.path() && there->type == to_string(type)) {
      backing.adopted_ = true;
      return backing;
    }
    return plain_error(EBUSY, "{} is in use: {} ({}) is mounted there, not {} ({})", root.string(),
                       there ? there->source : "something", there ? there->type : "unknown", device.path(),
                       to_string(type));
  }
  device.release_exclusive();
  if (::mount(device.path().c_str(), root.c_str(), to_string(type), MS_NOATIME, data.c_str()) != 0) {
    return errno_error("cannot mount {} as {} on {}{}", device.path(), to_string(type), root.string(),
                       errno == EINVAL ? " (was it formatted for this driver and backing?)" : "");
  }
  backing.mounted_ = true;
  return backing;
}

Status Backing::bind(const std::filesystem::path& folder) {
  if (is_mount_point(root_)) {
    return plain_error(EBUSY, "{} is in use: something is mounted there", root_.string());
  }
  if (::mount(folder.c_str(), root_.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return errno_error("cannot bind {} on {}", folder.string(), root_.string());
  }
  mounted_ = true;
  const auto there = find_mount(root_);
  mount_options_ = there ? "as the host's " + there->type : "as the host's";
  reflink_ = can_clone(root_);
  return {};
}

Backing Backing::take(const std::filesystem::path& root, BackingType type, bool adopted) {
  Backing backing(root, type);
  backing.mounted_ = !adopted;
  backing.adopted_ = adopted;
  return backing;
}

Backing::Backing(Backing&& other) noexcept
    : root_(std::move(other.root_)),
      type_(other.type_),
      mount_options_(std::move(other.mount_options_)),
      reflink_(other.reflink_),
      mounted_(std::exchange(other.mounted_, false)),
      adopted_(other.adopted_) {}

Backing::~Backing() {
  if (mounted_ && !unmount(root_, kUnmountPatience_ms).ok()) {
    ::umount2(root_.c_str(), MNT_DETACH);  // a stranger holds it: it goes when they let go
  }
}

Status Backing::sync() const {
  SBENCH_TRY_SET(const Fd fd, open_file(root_, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) {
    return errno_error("cannot sync {}", root_.string());
  }
  return {};
}

Status Backing::settle_space() const {
  if (type_ != BackingType::xfs) {
    return {};
  }
  SBENCH_TRY_SET(const Fd fd, open_file(root_, O_RDONLY | O_DIRECTORY));
  const XfsFreeBlocks request;
  if (::ioctl(fd.get(), kXfsFreeBlocks, &request) != 0) {
    return errno_error("cannot wait for freed space on {}", root_.string());
  }
  return {};
}

Status Backing::claim(const std::string& maker) const {
  const auto file = root_ / "sbench-store";
  const std::string found = read_trimmed(file);
  if (found.empty()) {
    return write_text_atomic(file, maker + "\n");
  }
  if (found != maker) {
    return plain_error(EINVAL, "the store was made by '{}' and cannot be opened as '{}': use the same options", found,
                       maker);
  }
  return {};
}

std::string describe_maker(const std::string& driver, const Options& options, const std::string& transient) {
  std::string text = driver;
  for (const auto& [name, value] : options) {
    if (name != transient) {
      text += fmt::format(" {}={}", name, value);
    }
  }
  return text;
}

}  // namespace sbench
