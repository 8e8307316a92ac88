// devicemapper_test.cpp: what a first write to a thin snapshot costs, by the device's counters, and what becomes of
// the driver when its pool is full, its server dies or a device is in use.
//
// Figures to meet are real dm-thin's, measured once (4 KiB overwrite and fsync in a 64 MiB file of a snapshot, ext4).
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <thread>

#include "drivers/base/process.h"
#include "drivers/block/direct_device.h"
#include "drivers/leftovers.h"
#include "drivers/thin_pool/check.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

constexpr std::uint64_t kFileBytes = 64 * kMiB;

Variant userspace(Options more = {}) {
  more["engine"] = "userspace";
  return {"devicemapper", std::move(more)};
}

class Thin : public testing::Test {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(userspace()); }
};

void make_image(Driver& driver) {
  make_layer(driver, "image", {},
             [](const std::filesystem::path& tree) { write_file(tree / "big", std::string(kFileBytes, 'b')); });
}

/// Device bytes of 4 KiB written and fsynced at `offset` of the mounted, cold container's file.
/// The file's time changes with each: within one tick of the clock ext4 would have nothing to put into its journal.
DeviceCounters cost_of_write(TestStore& store, const std::filesystem::path& tree, std::uint64_t offset) {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const Fd fd = must(open_file(tree / "big", O_WRONLY));
  const auto before = must(store.device().counters());
  EXPECT_EQ(::pwrite(fd.get(), std::string(4096, 'w').data(), 4096, static_cast<off_t>(offset)), 4096);
  EXPECT_EQ(::fsync(fd.get()), 0);
  return must(store.device().counters()) - before;
}

/// The median of writes to seven chunks, at an offset in each: some of the writes also move ext4's journal into a
/// chunk that is not yet its own.
DeviceCounters cost_of_writes(TestStore& store, const std::filesystem::path& tree, std::uint64_t offset) {
  std::vector<DeviceCounters> costs;
  for (std::uint64_t i = 0; i < 7; ++i) {
    costs.push_back(cost_of_write(store, tree, (9 + 4 * i) * kMiB + offset));
  }
  std::sort(costs.begin(), costs.end(), [](const auto& a, const auto& b) { return a.bytes_written < b.bytes_written; });
  return costs[3];
}

/// Opens the store anew, mounts the container, waits until that is written.
Mount mount_cold(TestStore& store, const LayerId& container) {
  store.reopen();
  auto tree = must(store.driver().mount(container));
  must(store.driver().sync());
  return tree;
}

struct FirstWrite {
  const char* chunk;
  std::uint64_t written;
  std::uint64_t read;
};

class FirstWriteCost : public testing::TestWithParam<FirstWrite> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(userspace()); }
};
INSTANTIATE_TEST_SUITE_P(Chunks, FirstWriteCost,
                         testing::Values(FirstWrite{"64K", 122'880, 65'536}, FirstWrite{"512K", 577'536, 524'288}),
                         [](const auto& each) { return std::string(each.param.chunk); });

TEST_P(FirstWriteCost, is_that_of_dm_thin_and_a_second_one_to_the_chunk_copies_nothing) {
  TestStore store(userspace({{"dm.blocksize", GetParam().chunk}}));
  make_image(store.driver());
  must(store.driver().prepare("writer", "image"));
  auto tree = mount_cold(store, "writer");
  const auto first = cost_of_writes(store, tree.path(), 0);
  const auto second = cost_of_writes(store, tree.path(), 8192);
  std::printf("devicemapper %s: first write %llu written, %llu read; second write %llu written, %llu read\n", GetParam().chunk,
              static_cast<unsigned long long>(first.bytes_written), static_cast<unsigned long long>(first.bytes_read),
              static_cast<unsigned long long>(second.bytes_written), static_cast<unsigned long long>(second.bytes_read));
  EXPECT_NEAR(static_cast<double>(first.bytes_written), static_cast<double>(GetParam().written), 0.15 * GetParam().written);
  EXPECT_NEAR(static_cast<double>(first.bytes_read), static_cast<double>(GetParam().read), 0.15 * GetParam().read);
  EXPECT_LE(second.bytes_written, 32 * kKiB) << "the data, and ext4's journal";
  EXPECT_LE(second.bytes_read, 16 * kKiB);
  must(tree.release());
}

TEST_F(Thin, a_first_write_costs_the_same_at_every_depth) {
  TestStore store(userspace());
  make_image(store.driver());
  std::map<int, DeviceCounters> costs;
  LayerId top = "image";
  for (int depth = 1; depth <= 100; ++depth) {
    if (depth == 1 || depth == 10 || depth == 100) {
      const LayerId writer = fmt::format("writer-{}", depth);
      must(store.driver().prepare(writer, top));
      auto tree = mount_cold(store, writer);
      costs[depth] = cost_of_writes(store, tree.path(), 0);
      must(tree.release());
      must(store.driver().remove(writer));
    }
    const LayerId next = fmt::format("layer-{}", depth);
    must(store.driver().prepare(next, top));
    must(store.driver().commit(next, next));
    top = next;
  }
  for (const auto& [depth, cost] : costs) {
    std::printf("devicemapper depth %3d: %llu written, %llu read\n", depth,
                static_cast<unsigned long long>(cost.bytes_written), static_cast<unsigned long long>(cost.bytes_read));
    EXPECT_NEAR(static_cast<double>(cost.bytes_written), static_cast<double>(costs[1].bytes_written), 16'384);
    EXPECT_NEAR(static_cast<double>(cost.bytes_read), static_cast<double>(costs[1].bytes_read), 16'384);
  }
}

TEST_F(Thin, below_the_free_space_floor_no_layer_is_made_and_what_is_there_stays) {
  TestStore store(userspace({{"dm.min_free_space", "50%"}, {"dm.basesize", "160M"}}), 200 * kMiB);
  make_layer(store.driver(), "full", {}, [](const std::filesystem::path& tree) {
    write_file(tree / "ballast", std::string(70 * kMiB, 'x'));
  });
  const Status refused = store.driver().prepare("one-more", "full");
  ASSERT_EQ(code_of(refused), ENOSPC);
  EXPECT_THAT(refused.error().what, testing::HasSubstr("less than 50% of its data space free"));
  store.reopen();
  auto tree = must(store.driver().mount("full"));
  EXPECT_EQ(std::filesystem::file_size(tree.path() / "ballast"), 70 * kMiB);
  must(tree.release());
  must(store.driver().remove("full"));
  must(store.driver().prepare("again", {}));
}

TEST_F(Thin, a_full_pool_fails_writes_and_keeps_what_was_synced) {
  TestStore store(userspace({{"dm.basesize", "128M"}}), 160 * kMiB);
  must(store.driver().prepare("c", {}));
  auto tree = must(store.driver().mount("c"));
  write_file(tree.path() / "kept", std::string(kMiB, 'k'));
  must(store.driver().sync());
  must(store.driver().prepare("d", {}));
  auto other = must(store.driver().mount("d"));
  bool failed = false;
  for (int i = 0; i < 50 && !failed; ++i) {  // two file systems that together promise more than there is
    for (const auto& path : {tree.path(), other.path()}) {
      const Fd fd(::open((path / fmt::format("f{}", i)).c_str(), O_WRONLY | O_CREAT, 0644));
      const std::string data(4 * kMiB, 'f');
      failed = failed || !fd.valid() || ::write(fd.get(), data.data(), data.size()) != static_cast<ssize_t>(data.size()) ||
               ::fsync(fd.get()) != 0;
    }
  }
  EXPECT_TRUE(failed);
  EXPECT_EQ(read_file(tree.path() / "kept"), std::string(kMiB, 'k'));
  static_cast<void>(other.release());
  static_cast<void>(tree.release());
  static_cast<void>(store.driver().remove("d"));
  store.reopen();
  auto again = must(store.driver().mount("c"));
  EXPECT_EQ(read_file(again.path() / "kept"), std::string(kMiB, 'k'));
}

/// The process that serves the pool, as status() names it.
pid_t server_of(Driver& driver) {
  for (const auto& [name, value] : driver.status()) {
    if (name == "Pool Server") {
      return static_cast<pid_t>(std::stoi(value));
    }
  }
  ADD_FAILURE() << "no row names the server";
  return 0;
}

/// Numbers of ublk devices that the kernel has.
std::vector<std::string> ublk_devices() {
  std::vector<std::string> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/ublk-char", none)) {
    if (entry.path().filename().string().starts_with("ublkc")) {
      found.push_back(entry.path().filename());
    }
  }
  return found;
}

TEST_F(Thin, when_the_server_is_killed_everything_fails_at_once_and_what_was_synced_is_there_afterwards) {
  TestStore store(userspace());
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "a", "kept"); });
  must(store.driver().prepare("c", "image"));
  {
    auto tree = must(store.driver().mount("c"));
    write_file(tree.path() / "b", "synced");
    must(store.driver().sync());
    ASSERT_EQ(::kill(server_of(store.driver()), SIGKILL), 0);
    const Fd fd(::open((tree.path() / "c").c_str(), O_WRONLY | O_CREAT, 0644));
    EXPECT_TRUE(!fd.valid() || ::fsync(fd.get()) != 0) << "nothing may be acknowledged now";
    EXPECT_FALSE(store.driver().sync().ok());
    const Status refused = store.driver().prepare("d", "image");
    ASSERT_FALSE(refused.ok());
  }
  store.reopen();
  {
    auto tree = must(store.driver().mount("c"));
    EXPECT_EQ(read_file(tree.path() / "a"), "kept");
    EXPECT_EQ(read_file(tree.path() / "b"), "synced");
  }
  store.close();
  EXPECT_THAT(ublk_devices(), testing::IsEmpty());
  const auto io = must(DirectDevice::open(store.device().path(), true));
  EXPECT_THAT(thin_pool::check_pool(*io).findings, testing::IsEmpty());
}

/// Opens the store in a process of its own, mounts container "c" there and writes `b`, synced. Both are to be killed.
struct Victim {
  pid_t process = -1;
  pid_t server = 0;
};

Victim start_victim(TestStore& store) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  Victim victim;
  victim.process = ::fork();
  if (victim.process == 0) {
    if (::unshare(CLONE_NEWNS) != 0) {  // as every run does: its mounts go with it
      ::_exit(1);
    }
    auto driver = store.variant().spec().open(store.device(), store.variant().options(), store.root());
    pid_t server = 0;
    if (driver.ok() && (*driver)->prepare("c", "image").ok()) {
      auto tree = (*driver)->mount("c");
      if (tree.ok()) {
        std::ofstream(tree->path() / "b") << "synced";
        server = (*driver)->sync().ok() ? server_of(**driver) : 0;
        static_cast<void>(!::write(ends[1], &server, sizeof(server)));
        ::pause();
      }
    }
    static_cast<void>(!::write(ends[1], &server, sizeof(server)));
    ::_exit(1);
  }
  EXPECT_EQ(::read(ends[0], &victim.server, sizeof(victim.server)), static_cast<ssize_t>(sizeof(victim.server)));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_GT(victim.server, 0);
  return victim;
}

TEST_F(Thin, ublk_devices_of_a_killed_server_are_deleted_by_clean) {
  SBENCH_SKIP_UNLESS_AVAILABLE(userspace({{"dm.export", "ublk"}}));
  TestStore store(userspace({{"dm.export", "ublk"}}));
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "a", "kept"); });
  store.close();
  const Victim victim = start_victim(store);
  EXPECT_THAT(ublk_devices(), testing::Not(testing::IsEmpty()));
  EXPECT_THAT(must(undo_leftovers()), testing::IsEmpty()) << "it is in use";
  ::kill(victim.server, SIGKILL);
  ::kill(victim.process, SIGKILL);
  ::waitpid(victim.process, nullptr, 0);
  for (int tries = 0; tries < 300 && !ublk_devices().empty(); ++tries) {  // the kernel looks for dead servers every 5 s
    must(undo_leftovers());
    ::usleep(100'000);
  }
  EXPECT_THAT(ublk_devices(), testing::IsEmpty());
  store.open();
  auto tree = must(store.driver().mount("c"));
  EXPECT_EQ(read_file(tree.path() / "b"), "synced");
}

TEST_F(Thin, a_store_whose_process_is_killed_leaves_no_server_no_loop_device_and_a_whole_pool) {
  TestStore store(userspace());
  make_layer(store.driver(), "image", {}, [](const std::filesystem::path& tree) { write_file(tree / "a", "kept"); });
  store.close();
  const Victim victim = start_victim(store);
  const pid_t server = victim.server;
  ::kill(victim.process, SIGKILL);
  ::waitpid(victim.process, nullptr, 0);
  ASSERT_GT(server, 0);
  const auto runs = [server] {  // a zombie that init has not collected does not
    const std::string text = read_trimmed(fmt::format("/proc/{}/stat", server));
    return !text.empty() && text.find(") Z ") == std::string::npos;
  };
  for (int i = 0; i < 500 && runs(); ++i) {
    ::usleep(10'000);
  }
  EXPECT_FALSE(runs()) << "the server outlived its process";
  EXPECT_THAT(ublk_devices(), testing::IsEmpty());
  store.open();
  auto tree = must(store.driver().mount("c"));
  EXPECT_EQ(read_file(tree.path() / "b"), "synced");
}

TEST_F(Thin, discarded_files_give_their_chunks_back_to_the_device) {
  TestStore store(userspace({{"dm.mountopt", "discard"}}));
  must(store.driver().prepare("c", {}));
  auto tree = must(store.driver().mount("c"));
  write_file(tree.path() / "f", std::string(64 * kMiB, 'f'));
  must(store.driver().sync());
  const auto full = must(store.driver().usage("c"));
  const auto before = must(store.device().counters());
  std::filesystem::remove(tree.path() / "f");
  must(store.driver().sync());
  must(store.driver().sync());
  const auto freed = must(store.driver().usage("c"));
  EXPECT_LE(freed.bytes_allocated + 60 * kMiB, full.bytes_allocated);
  EXPECT_GE((must(store.device().counters()) - before).bytes_discarded, 60 * kMiB);
  must(tree.release());
}

/// A layer's file system is mounted at a second place, too, when the driver lets go of it.
Status release_while_in_use(TestStore& store, const std::filesystem::path& elsewhere) {
  must(store.driver().prepare("c", {}));
  auto tree = must(store.driver().mount("c"));
  std::filesystem::create_directories(elsewhere);
  EXPECT_EQ(::mount(tree.path().parent_path().c_str(), elsewhere.c_str(), nullptr, MS_BIND, nullptr), 0);
  return tree.release();
}

TEST_F(Thin, a_device_in_use_elsewhere_goes_with_its_last_user) {
  TestStore store(userspace());
  const std::filesystem::path elsewhere = store.root() / "elsewhere";
  must(release_while_in_use(store, elsewhere));
  EXPECT_TRUE(path_exists(elsewhere / "rootfs"));
  must(unmount(elsewhere, 2000));
  must(store.driver().remove("c"));
}

TEST_F(Thin, without_deferred_removal_a_device_in_use_elsewhere_is_busy) {
  TestStore store(userspace({{"dm.use_deferred_removal", "false"}}));
  const std::filesystem::path elsewhere = store.root() / "elsewhere";
  EXPECT_EQ(code_of(release_while_in_use(store, elsewhere)), EBUSY);
  must(unmount(elsewhere, 2000));
}

TEST_F(Thin, devices_with_blocks_of_4096_bytes_carry_ext4_and_xfs) {
  enter_private_mounts();
  for (const char* type : {"ext4", "xfs"}) {
    const auto variant = userspace({{"dm.fs", type}});
    SBENCH_SKIP_UNLESS_AVAILABLE(variant);
    const std::string image = fmt::format("/var/tmp/sbench-test-{}.img", ::getpid());
    write_file(image, "");
    std::filesystem::resize_file(image, kGiB);
    const auto path = must(run_checked({"losetup", "--find", "--show", "--sector-size=4096", "--direct-io=on", image}));
    std::filesystem::remove(image);
    const auto device = must(Device::open_real(path.substr(0, path.find('\n'))));
    must(run_checked({"losetup", "--detach", device->path()}));  // when the last user goes
    must(variant.spec().format(*device, variant.options()));
    const std::filesystem::path root = fmt::format("/mnt/blocks-{}", type);
    std::filesystem::create_directories(root);
    for (const bool again : {false, true}) {
      const auto driver = must(variant.spec().open(*device, variant.options(), root));
      if (!again) {
        make_layer(*driver, "base", {}, [](const std::filesystem::path& tree) { write_file(tree / "f", std::string(kMiB, 'x')); });
      }
      auto tree = must(driver->mount("base"));
      EXPECT_EQ(read_file(tree.path() / "f"), std::string(kMiB, 'x'));
    }
  }
}

}  // namespace
}  // namespace sbench::test
