// commands_test.cpp: sbench check, dump and restore on a pool in an image file: verdicts, exit codes, nothing harmed.
#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/block/device.h"
#include "drivers/block/direct_device.h"
#include "harness/console.h"
#include "tests/support/support.h"
#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

using ::testing::HasSubstr;
using testing::run_command;

constexpr std::uint64_t kImageBytes = 24 * kMiB;

/// An image file with a closed pool: device 1 and a snapshot of it that differs.
class Commands : public ::testing::Test {
 protected:
  void SetUp() override {
    const Fd file = must(open_file(image(), O_RDWR | O_CREAT));
    ASSERT_EQ(::ftruncate(file.get(), kImageBytes), 0);
    const auto device = must(DirectDevice::open(image()));
    must(Pool::format(*device, {}));
    const auto pool = must(Pool::open(*device, quiet_options()));
    must(pool->create_device(1, 100 * kSmallChunk));
    for (std::uint64_t chunk = 0; chunk < 60; ++chunk) {
      must(pool->write(1, chunk * kSmallChunk, filled(4096, chunk + 1)));
    }
    must(pool->create_snapshot(2, 1));
    must(pool->write(2, 0, filled(4096, 4711)));
  }
  [[nodiscard]] std::string image() const { return (folder_.path() / "device.img").string(); }

  void overwrite(std::uint64_t offset, std::string_view bytes) const {
    std::fstream file(image(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  [[nodiscard]] std::uint64_t value_at(DeviceId id, std::uint64_t chunk) const {
    const auto device = must(DirectDevice::open(image()));
    const auto pool = must(Pool::open(*device, quiet_options()));
    std::vector<std::byte> data(4096);
    must(pool->read(id, chunk * kSmallChunk, data));
    return value_of(data);
  }
  /// A block of this kind that the pool uses.
  [[nodiscard]] std::uint64_t block_of(BlockKind kind) const {
    const auto device = must(DirectDevice::open(image(), true));
    const auto metadata = must(Metadata::open(*device, kMiB));
    for (std::uint64_t number = kSuperblockSlots; number < metadata->superblock().metadata.size; ++number) {
      std::vector<std::byte> bytes(kBlockBytes);
      BlockHeader header;
      must(device->read(number * kBlockBytes, bytes));
      std::memcpy(&header, bytes.data(), sizeof(header));
      if (header.kind == kind && must(metadata->metadata_map().count(number)) > 0) {
        return number;
      }
    }
    ADD_FAILURE() << "no block is a " << to_string(kind);
    return 0;
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Commands, check_says_that_a_whole_pool_is_whole_and_what_it_holds) {
  for (const std::string& place : {image(), folder_.path().string()}) {  // the file, or the store's folder
    const auto checked = run_command({"check", place});
    EXPECT_EQ(checked.exit_code, kExitOk) << checked.err;
    EXPECT_THAT(checked.out, HasSubstr("device.img (thin_pool): whole"));
    EXPECT_EQ(checked.err, "");
  }
  const auto json = nlohmann::json::parse(run_command({"check", image(), "--format", "json"}).out);
  EXPECT_TRUE(json["whole"]);
  EXPECT_EQ(json["figures"]["devices"], 2);
  EXPECT_EQ(json["figures"]["mapped_chunks"], 120);
  EXPECT_EQ(json["figures"]["data_chunks_used"], 61);
}

TEST_F(Commands, check_names_damage_of_every_kind) {
  for (const BlockKind kind : {BlockKind::mapping, BlockKind::devices, BlockKind::counts, BlockKind::index}) {
    SetUp();
    const std::uint64_t number = block_of(kind);
    overwrite(number * kBlockBytes + 100, "damage");
    const auto checked = run_command({"check", image()});
    EXPECT_EQ(checked.exit_code, kExitError);
    EXPECT_THAT(checked.out, HasSubstr(fmt::format("metadata block {} ({}) is damaged: wrong checksum", number, to_string(kind))));
    if (kind == BlockKind::mapping || kind == BlockKind::devices) {
      const auto dumped = run_command({"dump", image()});
      EXPECT_EQ(dumped.exit_code, kExitError);
      EXPECT_THAT(dumped.err, HasSubstr("is damaged"));
    }
  }
}

TEST_F(Commands, one_torn_superblock_is_a_note_and_two_are_damage) {
  overwrite(80, std::string(400, 'x'));
  auto checked = run_command({"check", image()});
  EXPECT_EQ(checked.exit_code, kExitOk);
  EXPECT_THAT(checked.out, HasSubstr("note: superblock slot 0: wrong checksum"));
  overwrite(kBlockBytes + 80, std::string(400, 'x'));
  checked = run_command({"check", image()});
  EXPECT_EQ(checked.exit_code, kExitError);
  EXPECT_THAT(checked.out, HasSubstr("slot 0: wrong checksum; slot 1: wrong checksum"));
}

TEST_F(Commands, a_device_that_shrank_is_damage) {
  std::filesystem::resize_file(image(), kImageBytes - kMiB);
  const auto checked = run_command({"check", image()});
  EXPECT_EQ(checked.exit_code, kExitError);
  EXPECT_THAT(checked.out, HasSubstr("the device has shrunk"));
}

TEST_F(Commands, what_dump_prints_restore_reads_after_all_metadata_is_gone) {
  const auto dumped = run_command({"dump", image()});
  ASSERT_EQ(dumped.exit_code, kExitOk) << dumped.err;
  EXPECT_THAT(dumped.out, ::testing::StartsWith("thin_pool 1 "));
  overwrite(0, std::string(2 * kMiB, '\0'));
  EXPECT_EQ(run_command({"check", image()}).exit_code, kExitNothingRan) << "nothing is recognised";
  EXPECT_EQ(run_command({"check", image(), "--engine", "thin_pool"}).exit_code, kExitError);
  EXPECT_EQ(run_command({"restore", image(), "--engine", "thin_pool"}, dumped.out).exit_code, kExitUsage) << "without --yes";
  const auto restored = run_command({"restore", image(), "--engine", "thin_pool", "--yes"}, dumped.out);
  ASSERT_EQ(restored.exit_code, kExitOk) << restored.err;
  EXPECT_EQ(run_command({"check", image()}).exit_code, kExitOk);
  EXPECT_EQ(value_at(1, 59), 60u);
  EXPECT_EQ(value_at(2, 0), 4711u);
  EXPECT_EQ(value_at(1, 0), 1u);
}

TEST_F(Commands, restore_leaves_somebody_elses_file_system_alone) {
  const std::string dumped = run_command({"dump", image()}).out;
  const std::string other = (folder_.path() / "home.img").string();
  std::ofstream(other).close();
  std::filesystem::resize_file(other, kImageBytes);
  must(run_checked({"mkfs.ext4", "-q", "-F", "-L", "home", other}));
  const std::vector<std::string> command = {"restore", other, "--engine", "thin_pool", "--yes"};
  const auto refused = run_command(command, dumped);
  EXPECT_EQ(refused.exit_code, kExitUsage);
  EXPECT_THAT(refused.err, HasSubstr("carries ext4 labelled 'home'; add --wipe"));
  must(run_checked({"e2fsck", "-fn", other}));
  const auto meant = run_command({"restore", other, "--engine", "thin_pool", "--yes", "--wipe"}, dumped);
  EXPECT_EQ(meant.exit_code, kExitOk) << meant.err;
}

TEST_F(Commands, restore_refuses_text_that_is_no_dump_and_changes_nothing) {
  const std::string before = run_command({"dump", image()}).out;
  const std::string text = (folder_.path() / "dump.txt").string();
  std::ofstream(text) << before.substr(0, before.size() / 2);
  const auto refused = run_command({"restore", image(), text, "--yes"});
  EXPECT_EQ(refused.exit_code, kExitError);
  EXPECT_EQ(testing::line_count(refused.err), 1u) << refused.err;
  EXPECT_EQ(run_command({"dump", image()}).out, before);
}

TEST_F(Commands, a_place_without_a_store_or_in_use_is_exit_code_5) {
  const std::string blank = (folder_.path() / "blank.img").string();
  std::ofstream(blank) << std::string(kMiB, 'b');
  for (const char* command : {"check", "dump"}) {
    const auto result = run_command({command, blank});
    EXPECT_EQ(result.exit_code, kExitNothingRan);
    EXPECT_THAT(result.err, HasSubstr("holds no store of a user-space engine (thin_pool, cow_fs)"));
    EXPECT_EQ(run_command({command, "/no/such/place"}).exit_code, kExitError);
  }
  if (!testing::is_root()) {
    GTEST_SKIP() << "needs root to attach the image";
  }
  const auto device = must(Device::attach_image(image()));
  const auto checked = run_command({"check", image()});
  EXPECT_EQ(checked.exit_code, kExitNothingRan);
  EXPECT_THAT(checked.err, HasSubstr("is in use by the loop device " + device->path()));
  EXPECT_EQ(run_command({"check", device->path()}).exit_code, kExitOk) << "through the device it is free";
}

}  // namespace
}  // namespace sbench::thin_pool
