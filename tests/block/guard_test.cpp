// Device safety: every way in which a device can be in use is refused, in one line that says what uses it.
//
// Devices are this test's own loop devices; "another process" is a forked child. What no test machine's
// kernel can be relied on to have (md, LVM, device-mapper, swap) stands in a /proc and /sys of the test's own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/blkpg.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <array>
#include <cstring>
#include <functional>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/block/device.h"
#include "drivers/block/guard.h"
#include "tests/support/must.h"
#include "tests/support/support.h"

namespace sbench::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A process that does something and then stays until the test is over.
class Child {
 public:
  explicit Child(const std::function<bool()>& act) {
    int ends[2] = {};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close_range(3, static_cast<unsigned>(ends[1]) - 1, 0);  // what the test has open is not this process' use
      ::close_range(static_cast<unsigned>(ends[1]) + 1, ~0U, 0);
      const char done = act() ? '1' : '0';
      static_cast<void>(::write(ends[1], &done, 1));
      for (;;) {
        ::pause();
      }
    }
    ::close(ends[1]);
    char done = '0';
    EXPECT_EQ(::read(ends[0], &done, 1), 1);
    EXPECT_EQ(done, '1');
    ::close(ends[0]);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }
  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

class GuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::is_root()) {
      GTEST_SKIP() << "loop devices need root";
    }
    testing::enter_private_namespace();
    device_ = make_device(64 * kMiB);
    mountpoint_ = folder_.path() / "mnt";
    must(make_directories(mountpoint_));
  }
  void TearDown() override {
    while (::umount2(mountpoint_.c_str(), MNT_DETACH) == 0) {
    }
  }

  static std::unique_ptr<Device> make_device(std::uint64_t size_bytes) {
    return must(Device::make_image("/var/tmp", size_bytes));
  }
  static void mkfs(const std::string& path, const std::string& label = "precious") {
    must(run_checked({"mkfs.ext4", "-q", "-F", "-L", label, path}));
  }
  [[nodiscard]] bool mount_it(const std::string& path, const char* type = "ext4", const char* data = nullptr) const {
    return ::mount(path.c_str(), mountpoint_.c_str(), type, 0, data) == 0;
  }
  /// What the user would read; empty when the device may be formatted.
  static std::string refusal(const std::string& path, bool wipe = true, const SystemPlaces& places = {},
                             std::uint64_t size_bytes_min = kMiB) {
    const auto facts = inspect_device(path, places);
    if (!facts.ok()) {
      return facts.error().what;
    }
    try {
      require_formattable(*facts, size_bytes_min, wipe);
    } catch (const UsageError& error) {
      EXPECT_EQ(testing::line_count(std::string(error.what()) + "\n"), 1u) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("; ")) << "no remedy";
      return error.what();
    }
    return {};
  }
  std::string refusal() { return refusal(device_->path()); }

  testing::TemporaryFolder folder_;
  std::unique_ptr<Device> device_;
  fs::path mountpoint_;
};

TEST_F(GuardTest, a_blank_unused_device_passes_and_stays_claimed_until_it_is_formatted) {
  EXPECT_EQ(refusal(), "");
  DeviceFacts facts = must(inspect_device(device_->path()));
  const auto others = [&] { return Fd(::open(device_->path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).valid(); };
  EXPECT_FALSE(others()) << "the guard's claim";
  const auto opened = must(Device::open_real(facts.path, std::move(facts.claim)));
  EXPECT_FALSE(others()) << "handed on";
  EXPECT_NE(run_program({"mkfs.ext4", "-q", "-F", device_->path()})->exit_code, 0) << "somebody else's mkfs";
  opened->release_exclusive();
  {
    const Fd taken(::open(device_->path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    EXPECT_TRUE(taken.valid());
    EXPECT_EQ(code_of(opened->claim(0)), EBUSY) << "taken by somebody between two formats";
  }
  EXPECT_EQ(code_of(opened->claim(0)), 0);
  EXPECT_FALSE(others());
}

TEST_F(GuardTest, a_claimed_device_is_discarded_whatever_its_cache_holds) {
  DeviceFacts facts = must(inspect_device(device_->path()));
  const auto opened = must(Device::open_real(facts.path, std::move(facts.claim)));
  const Fd cached = must(open_file(device_->path(), O_RDWR));
  must(write_all(cached.get(), std::string(4096, 'x'), device_->path()));  // a page that is not yet on the device
  must(opened->discard_all());
  EXPECT_FALSE(Fd(::open(device_->path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).valid()) << "still claimed";
}

TEST_F(GuardTest, a_mounted_device) {
  mkfs(device_->path());
  ASSERT_TRUE(mount_it(device_->path()));
  EXPECT_THAT(refusal(), HasSubstr("is mounted at " + mountpoint_.string() + "; unmount it first"));
}

TEST_F(GuardTest, a_device_mounted_in_another_mount_namespace) {
  mkfs(device_->path());
  Child other([&] { return ::unshare(CLONE_NEWNS) == 0 && mount_it(device_->path()); });
  EXPECT_THAT(refusal(), HasSubstr(fmt::format("is mounted at {} in the mount namespace of process {} (",
                                               mountpoint_.string(), other.pid())));
  // A namespace that only a descriptor keeps is seen by the exclusive open alone.
  const Fd kept = must(open_file(fmt::format("/proc/{}/ns/mnt", other.pid()), O_RDONLY));
  other.end();
  EXPECT_THAT(refusal(), HasSubstr("is claimed by something that shows itself nowhere"));
}

TEST_F(GuardTest, a_device_whose_file_system_was_unmounted_lazily) {
  mkfs(device_->path());
  ASSERT_TRUE(mount_it(device_->path()));
  Fd user = must(open_file(mountpoint_, O_RDONLY));
  ASSERT_EQ(::umount2(mountpoint_.c_str(), MNT_DETACH), 0);
  EXPECT_THAT(refusal(), HasSubstr("is claimed by something that shows itself nowhere"));
}

TEST_F(GuardTest, a_device_that_a_process_holds_open) {
  const Child reader([&] { return ::open(device_->path().c_str(), O_RDONLY) >= 0; });
  EXPECT_THAT(refusal(), HasSubstr(fmt::format("is held open by process {} (", reader.pid())));
}

TEST_F(GuardTest, a_device_whose_content_stays_is_claimed_once_nothing_uses_it) {
  mkfs(device_->path());
  {
    const DeviceFacts facts = must(claim_unused(device_->path(), 0));
    EXPECT_TRUE(facts.claim.valid());
    EXPECT_FALSE(mount_it(device_->path())) << "between the look and the use nobody can mount it";
  }
  {
    const Child reader([&] { return ::open(device_->path().c_str(), O_RDONLY) >= 0; });
    const auto refused = claim_unused(device_->path(), 0);
    EXPECT_EQ(code_of(refused), EBUSY);
    EXPECT_THAT(refused.error().what, HasSubstr(fmt::format("is held open by process {}", reader.pid())));
  }
  ASSERT_TRUE(mount_it(device_->path()));
  EXPECT_EQ(code_of(claim_unused(device_->path(), 0)), EBUSY);
  EXPECT_EQ(code_of(claim_unused(folder_.path(), 0)), ENOTBLK);
}

/// A thread that leads its own life: what it has, the process' first thread, which is what /proc/PID shows, has not.
bool in_a_thread(const std::function<bool()>& act) {
  int ends[2] = {};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return false;
  }
  std::thread([&act, end = ends[1]] {
    const char done = ::unshare(CLONE_FILES | CLONE_FS | CLONE_NEWNS) == 0 && act() ? '1' : '0';
    static_cast<void>(::write(end, &done, 1));
    for (;;) {
      ::pause();
    }
  }).detach();
  char done = '0';
  return ::read(ends[0], &done, 1) == 1 && done == '1';
}

TEST_F(GuardTest, a_device_that_one_thread_of_a_process_holds_open_or_has_mounted) {
  {
    const Child reader([&] { return in_a_thread([&] { return ::open(device_->path().c_str(), O_RDONLY) >= 0; }); });
    EXPECT_THAT(refusal(), HasSubstr(fmt::format("is held open by process {} (", reader.pid())));
  }
  mkfs(device_->path());
  const Child other([&] { return in_a_thread([&] { return mount_it(device_->path()); }); });
  EXPECT_THAT(refusal(), HasSubstr(fmt::format("is mounted at {} in the mount namespace of process {}/task/",
                                               mountpoint_.string(), other.pid())));
}

TEST_F(GuardTest, a_device_that_a_process_has_in_its_memory_and_no_longer_open) {
  const auto map = [&](int flags) {
    const Fd fd(::open(device_->path().c_str(), O_RDWR));
    return ::mmap(nullptr, 4096, PROT_READ, flags, fd.get(), 0) != MAP_FAILED;
  };
  for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
    const Child reader([&] { return map(flags); });
    EXPECT_THAT(refusal(), HasSubstr(fmt::format("is held open by process {} (", reader.pid())));
  }
  EXPECT_EQ(refusal(), "");
}

TEST_F(GuardTest, a_device_of_which_an_ordinary_user_cannot_know_who_has_it_open) {
  ASSERT_EQ(::chmod(device_->path().c_str(), 0666), 0);
  const Child root([&] { return ::open(device_->path().c_str(), O_RDONLY) >= 0; });
  const Child user([&] {
    return ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0 &&
           refusal(device_->path()).find(", whose open files nobody may see here; run this as root") != std::string::npos;
  });
  ASSERT_EQ(::chmod(device_->path().c_str(), 0660), 0);
}

TEST_F(GuardTest, the_disk_this_system_runs_from) {
  struct stat root {};
  ASSERT_EQ(::stat("/", &root), 0);
  if (!fs::exists(sys_folder(root.st_dev))) {
    GTEST_SKIP() << "/ is not on a block device here";
  }
  const auto uses = find_device_uses(family_of(root.st_dev));  // a container may not open it, but may not format it either
  ASSERT_FALSE(uses.empty());
  EXPECT_EQ(uses.front().what, "holds the system this machine runs: it is mounted at /");
}

TEST_F(GuardTest, names_that_hide_what_they_are) {
  mkfs(device_->path());
  ASSERT_TRUE(mount_it(device_->path()));
  const fs::path link = folder_.path() / "blank-disk";
  fs::create_symlink(device_->path(), link);
  EXPECT_THAT(refusal(link), HasSubstr(device_->path() + " is mounted at"));
  const fs::path node = folder_.path() / "second-node";  // another name for the same device
  struct stat status {};
  ASSERT_EQ(::stat(device_->path().c_str(), &status), 0);
  ASSERT_EQ(::mknod(node.c_str(), S_IFBLK | 0600, status.st_rdev), 0);
  EXPECT_THAT(refusal(node), HasSubstr("is mounted at"));

  fs::create_symlink(folder_.path() / "nothing", folder_.path() / "dangling");
  EXPECT_THAT(refusal(folder_.path() / "dangling"), HasSubstr("cannot find the device"));
  fs::create_symlink("circle", folder_.path() / "circle");
  EXPECT_THAT(refusal(folder_.path() / "circle"), HasSubstr("cannot find the device"));
  must(write_text_atomic(folder_.path() / "file", "text"));
  for (const fs::path& other : {folder_.path() / "file", folder_.path(), fs::path("/dev/null")}) {
    EXPECT_THAT(refusal(other), HasSubstr("is not a block device"));
  }
}

TEST_F(GuardTest, a_name_that_leads_elsewhere_after_the_look_is_not_opened) {
  const auto second = make_device(64 * kMiB);
  const auto number_of = [](const Device& device) {
    struct stat status {};
    return ::stat(device.path().c_str(), &status) == 0 ? status.st_rdev : dev_t{0};
  };
  const fs::path node = folder_.path() / "node";
  ASSERT_EQ(::mknod(node.c_str(), S_IFBLK | 0600, number_of(*device_)), 0);
  DeviceFacts facts = must(inspect_device(node));
  ASSERT_EQ(::unlink(node.c_str()), 0);
  ASSERT_EQ(::mknod(node.c_str(), S_IFBLK | 0600, number_of(*second)), 0);
  EXPECT_EQ(code_of(Device::open_real(facts.path, std::move(facts.claim))), EBUSY);
}

/// A /proc and /sys that say of the device under test what they would say on another machine.
class OtherMachine {
 public:
  OtherMachine(const fs::path& root, const std::string& device) : places_{root / "proc", root / "sys"} {
    struct stat status {};
    EXPECT_EQ(::stat(device.c_str(), &status), 0);
    folder_ = sys_folder(status.st_rdev, places_);
    must(make_directories(folder_));
    must(make_directories(places_.proc));
    put(folder_ / "uevent", fmt::format("DEVNAME={}\n", fs::path(device).filename().string()));
  }
  void put(const fs::path& path, const std::string& text) {
    must(make_directories(path.parent_path()));
    must(write_text_atomic(path, text));
  }
  void add_holder(const std::string& name) { put(folder_ / "holders" / name, ""); }
  [[nodiscard]] const SystemPlaces& places() const { return places_; }

 private:
  SystemPlaces places_;
  fs::path folder_;
};

/// A loop device of 96 MiB with flags that Device::make_image() has no need of; it clears itself.
class OwnLoop {
 public:
  OwnLoop(const fs::path& image, unsigned flags) {
    const Fd file = must(open_file(image, O_RDWR | O_CREAT));
    EXPECT_EQ(::ftruncate(file.get(), 96 * kMiB), 0);
    const Fd control = must(open_file("/dev/loop-control", O_RDWR));
    loop_config config{};
    config.fd = static_cast<unsigned>(file.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags;
    do {
      path_ = fmt::format("/dev/loop{}", ::ioctl(control.get(), LOOP_CTL_GET_FREE));
      fd_ = must(open_file(path_, O_RDWR));
    } while (::ioctl(fd_.get(), LOOP_CONFIGURE, &config) != 0 && errno == EBUSY);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  std::string path_;
  Fd fd_;
};

TEST_F(GuardTest, a_read_only_or_too_small_device) {
  EXPECT_THAT(refusal(device_->path(), true, {}, kGiB), HasSubstr("is too small: it has 64"));
  const OwnLoop disk(folder_.path() / "disk.img", LO_FLAGS_READ_ONLY);
  EXPECT_THAT(refusal(disk.path()), HasSubstr("is read-only; name a writable device"));
}

TEST_F(GuardTest, a_file_system_needs_wipe_and_its_label_cannot_write_to_the_terminal) {
  mkfs(device_->path(), "a\x1b[2Jb");
  EXPECT_THAT(refusal(device_->path(), false), HasSubstr("carries ext4 labelled 'a?[2Jb'; add --wipe"));
  EXPECT_EQ(refusal(device_->path(), true), "");
}

/// Two partitions of 32 MiB, in a table and in the kernel, which need not know tables.
class PartitionedDisk : public OwnLoop {
 public:
  explicit PartitionedDisk(const fs::path& image) : OwnLoop(image, LO_FLAGS_PARTSCAN) {
    std::array<unsigned char, 512> table{};
    for (int number = 1; number <= 2; ++number) {
      const auto start = static_cast<std::uint32_t>(2048 + (number - 1) * 65536);
      const std::uint32_t sectors = 65536;
      unsigned char* entry = table.data() + 446 + 16 * (number - 1);
      entry[4] = 0x83;
      std::memcpy(entry + 8, &start, 4);
      std::memcpy(entry + 12, &sectors, 4);
      blkpg_partition partition{};
      partition.start = static_cast<long long>(start) * 512;
      partition.length = static_cast<long long>(sectors) * 512;
      partition.pno = number;
      blkpg_ioctl_arg request{BLKPG_ADD_PARTITION, 0, sizeof(partition), &partition};
      static_cast<void>(::ioctl(fd(), BLKPG, &request));
    }
    table[510] = 0x55;
    table[511] = 0xaa;
    EXPECT_EQ(::pwrite(fd(), table.data(), table.size(), 0), 512);
  }
  [[nodiscard]] std::string partition(int number) const { return fmt::format("{}p{}", path(), number); }
};

TEST_F(GuardTest, a_disk_with_a_partition_in_use_and_a_partition_of_a_disk_in_use) {
  const PartitionedDisk disk(folder_.path() / "disk.img");
  if (!fs::exists(disk.partition(1))) {
    GTEST_SKIP() << "this kernel or container shows no partitions of loop devices";
  }
  mkfs(disk.partition(1), "home");
  EXPECT_THAT(refusal(disk.path(), false), HasSubstr("carries a dos partition table, ext4 labelled 'home' on loop"));
  EXPECT_EQ(refusal(disk.path()), "");
  ASSERT_TRUE(mount_it(disk.partition(1)));
  EXPECT_THAT(refusal(disk.path()), HasSubstr("is mounted at"));
  EXPECT_THAT(refusal(disk.partition(1)), HasSubstr("is mounted at"));
  EXPECT_EQ(refusal(disk.partition(2)), "") << "its neighbour's use is not its own";
  ASSERT_EQ(::umount(mountpoint_.c_str()), 0);
  {
    const Child reader([&] { return ::open(disk.partition(2).c_str(), O_RDONLY) >= 0; });
    EXPECT_THAT(refusal(disk.path()), HasSubstr("is held open by process"));
  }
  const Child vm([&] { return ::open(disk.path().c_str(), O_RDONLY) >= 0; });
  EXPECT_THAT(refusal(disk.partition(2)), HasSubstr("is held open by process")) << "the whole disk is";
}

TEST_F(GuardTest, an_image_file_or_its_loop_device_while_others_use_the_image) {
  const fs::path image = folder_.path() / "disk.img";
  must(write_text_atomic(image, ""));
  fs::resize_file(image, 64 * kMiB);
  EXPECT_EQ(code_of(check_unused(image, 0)), 0);
  const auto first = must(Device::attach_image(image));
  EXPECT_EQ(refusal(first->path()), "");
  EXPECT_THAT(check_unused(image, 0).error().what, HasSubstr("is in use by the loop device " + first->path()));
  {
    const fs::path other_name = folder_.path() / "hard-link";
    fs::create_hard_link(image, other_name);
    const auto second = must(Device::attach_image(other_name));
    EXPECT_THAT(refusal(first->path()), HasSubstr("stands on " + image.string() + ", which is in use by the loop device " +
                                                  second->path()));
    EXPECT_THAT(check_unused(image, 0).error().what, HasSubstr("is in use by the loop device"));
  }
  const Child editor([&] { return ::open(image.c_str(), O_RDONLY) >= 0; });
  EXPECT_THAT(refusal(first->path()), HasSubstr(fmt::format("which is held open by process {}", editor.pid())));
}

TEST_F(GuardTest, a_device_below_a_loop_device) {
  const auto above = must(Device::attach_image(device_->path()));
  EXPECT_THAT(refusal(), HasSubstr("is in use by the loop device " + above->path()));
  EXPECT_EQ(refusal(above->path()), "");
  mkfs(device_->path());
  ASSERT_TRUE(mount_it(device_->path()));
  EXPECT_THAT(refusal(above->path()), HasSubstr("stands on " + device_->path() + ", which is mounted at"));
}

TEST_F(GuardTest, what_stands_below_several_loop_devices) {
  const auto second = must(Device::attach_image(device_->path()));
  const auto third = must(Device::attach_image(second->path()));
  EXPECT_EQ(refusal(third->path()), "");
  mkfs(device_->path());
  ASSERT_TRUE(mount_it(device_->path()));
  EXPECT_THAT(refusal(third->path()), HasSubstr(fmt::format("stands on {}, which stands on {}, which is mounted at",
                                                            second->path(), device_->path())));
}

/// Until the process ends.
bool attach_for_good(const fs::path& image) {
  static auto attached = Device::attach_image(image);
  return attached.ok();
}

TEST_F(GuardTest, an_image_whose_loop_device_was_set_up_where_it_has_another_name) {
  const fs::path image = folder_.path() / "disk.img";
  must(write_text_atomic(image, ""));
  fs::resize_file(image, 64 * kMiB);
  must(write_text_atomic(mountpoint_ / "disk.img", "another file that has this name here"));
  {
    const Child other([&] {
      return ::unshare(CLONE_NEWNS) == 0 &&
             ::mount(folder_.path().c_str(), mountpoint_.c_str(), nullptr, MS_BIND, nullptr) == 0 &&
             attach_for_good(mountpoint_ / "disk.img");
    });
    EXPECT_THAT(check_unused(image, 0).error().what, HasSubstr("is in use by the loop device"));
  }
  EXPECT_EQ(code_of(check_unused(image)), 0) << "the loop device went with its process";
}

TEST_F(GuardTest, an_image_file_that_is_mounted_without_a_loop_device) {  // erofs since Linux 6.12
  const fs::path image = folder_.path() / "disk.img";
  must(write_text_atomic(image, "x"));
  OtherMachine machine(folder_.path(), device_->path());
  const std::string others = "22 1 0:20 / /proc rw - proc proc rw\n";
  machine.put(machine.places().proc / "self/mountinfo", others);
  EXPECT_EQ(code_of(check_unused(image, 0, machine.places())), 0);
  machine.put(machine.places().proc / "self/mountinfo", others + fmt::format("23 1 0:40 / /srv ro - erofs {} ro\n", image.string()));
  EXPECT_THAT(check_unused(image, 0, machine.places()).error().what, HasSubstr("is mounted at /srv; unmount it first"));
}

TEST_F(GuardTest, a_disk_that_is_mounted_whole_and_one_that_another_process_claims) {
  const PartitionedDisk disk(folder_.path() / "disk.img");
  mkfs(disk.path());
  {
    const Child claims([&] { return ::open(disk.path().c_str(), O_RDONLY | O_EXCL) >= 0; });
    EXPECT_THAT(refusal(disk.path()), HasSubstr(fmt::format("is held open by process {}", claims.pid())));
    EXPECT_THAT(refusal(disk.partition(1)), HasSubstr(fmt::format("is held open by process {}", claims.pid())));
  }
  const Child other([&] { return ::unshare(CLONE_NEWNS) == 0 && mount_it(disk.path()); });
  EXPECT_THAT(refusal(disk.partition(1)), HasSubstr("in the mount namespace of process"));
}

TEST_F(GuardTest, a_btrfs_of_several_devices_mounted_or_not) {
  if (find_program("mkfs.btrfs").empty() || ::access("/sys/fs/btrfs", F_OK) != 0) {
    GTEST_SKIP() << "no btrfs here";
  }
  const auto first = make_device(192 * kMiB);
  const auto second = make_device(192 * kMiB);
  must(run_checked({"mkfs.btrfs", "-q", "-f", "-d", "raid1", "-m", "raid1", first->path(), second->path()}));
  static_cast<void>(run_program({"btrfs", "device", "scan", "--forget", first->path()}));
  static_cast<void>(run_program({"btrfs", "device", "scan", "--forget", second->path()}));
  EXPECT_THAT(refusal(second->path()), HasSubstr("is one of the 2 devices of the btrfs")) << "not assembled";
  ASSERT_TRUE(mount_it(first->path(), "btrfs", "degraded")) << std::strerror(errno);
  EXPECT_THAT(refusal(second->path()), HasSubstr("belongs to the mounted btrfs")) << "by its signature alone";
  ASSERT_EQ(::umount(mountpoint_.c_str()), 0);
  must(run_checked({"btrfs", "device", "scan", second->path()}));
  ASSERT_TRUE(mount_it(first->path(), "btrfs")) << std::strerror(errno);
  EXPECT_THAT(refusal(second->path()), HasSubstr("belongs to the mounted btrfs"));
}

TEST_F(GuardTest, members_of_sets_that_are_not_assembled_need_more_than_wipe) {
  const Fd fd = must(open_file(device_->path(), O_RDWR));
  const auto put = [&](std::uint64_t at, const std::string& bytes) {
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)), static_cast<ssize_t>(bytes.size()));
  };
  const auto little = [](std::uint64_t value, int bytes) {
    return std::string(reinterpret_cast<const char*>(&value), static_cast<std::size_t>(bytes));
  };
  put(4096, little(0xa92b4efc, 4) + little(1, 4));  // md superblock 1.2: magic, major version,
  put(4096 + 32, "storage:0");                      // the set's name,
  put(4096 + 144, little(8, 8));                    // and the sector it stands in
  EXPECT_THAT(refusal(), HasSubstr("is a member of a set: linux_raid_member of 'storage:0'"));
  put(4096, std::string(4096, '\0'));

  std::string label = "LABELONE" + little(1, 8) + little(0, 4) + little(32, 4) + "LVM2 001";
  label.resize(512, '\0');
  std::uint32_t crc = 0xf597a6cf;
  for (std::size_t at = 20; at < label.size(); ++at) {
    crc ^= static_cast<unsigned char>(label[at]);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
    }
  }
  put(512, label.replace(16, 4, little(crc, 4)));
  EXPECT_THAT(refusal(), HasSubstr("is a member of a set: LVM2_member"));
  put(512, std::string(512, '\0'));

  for (std::uint64_t number = 0; number < 8; ++number) {  // uberblocks of the first zfs label
    put(128 * kKiB + number * kKiB, little(0x00bab10c, 8));
  }
  EXPECT_THAT(refusal(), HasSubstr("is a member of a set: zfs_member"));
}

TEST_F(GuardTest, what_stands_on_a_device_is_named_with_the_tool_that_takes_it_down) {
  const struct {
    const char* holder;
    std::vector<std::pair<const char*, const char*>> files;
    const char* expected;
  } cases[] = {
      {"md127", {{"md/level", "raid1\n"}}, "belongs to the md array md127; stop it first (mdadm --stop /dev/md127)"},
      {"dm-3",
       {{"dm/name", "vg0-home\n"}, {"dm/uuid", "LVM-abc\n"}},
       "carries the LVM volume vg0-home (dm-3); deactivate it first (lvchange -an /dev/mapper/vg0-home)"},
      {"dm-4",
       {{"dm/name", "secret\n"}, {"dm/uuid", "CRYPT-LUKS2-abc\n"}},
       "is held by the device-mapper device secret (dm-4); remove that first (dmsetup remove secret)"},
      {"bcache0", {}, "is held by bcache0; take that down first"},
  };
  for (const auto& each : cases) {
    const testing::TemporaryFolder root;
    OtherMachine machine(root.path(), device_->path());
    EXPECT_EQ(refusal(device_->path(), true, machine.places()), "");
    machine.add_holder(each.holder);
    for (const auto& [file, text] : each.files) {
      machine.put(machine.places().sys / "block" / each.holder / file, text);
    }
    EXPECT_THAT(refusal(device_->path(), true, machine.places()), HasSubstr(each.expected));
  }
}

TEST_F(GuardTest, swap_on_a_device_or_in_an_image_file) {
  OtherMachine machine(folder_.path(), device_->path());
  const std::string heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
  machine.put(machine.places().proc / "swaps", heading);
  EXPECT_EQ(refusal(device_->path(), true, machine.places()), "");
  machine.put(machine.places().proc / "swaps", heading + device_->path() + " partition 1 0 -2\n");
  EXPECT_THAT(refusal(device_->path(), true, machine.places()), HasSubstr("is in use as swap; run swapoff"));
  const fs::path file = folder_.path() / "swap file";
  must(write_text_atomic(file, "x"));
  machine.put(machine.places().proc / "swaps", heading + (folder_.path() / "swap\\040file file 1 0 -2\n").string());
  EXPECT_THAT(check_unused(file, 0, machine.places()).error().what, HasSubstr("is in use as swap"));
}

}  // namespace
}  // namespace sbench::test
