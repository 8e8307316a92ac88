// power_loss_test.cpp: the power goes at every write of small histories; what a flush acknowledged is there afterwards.
#include <fcntl.h>

#include "drivers/thin_pool/device_files.h"
#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kDeviceBytes = 6 * kSmallChunk;
constexpr std::uint64_t kBlocks = kDeviceBytes / kBlock;

/// The values each block may have after a power loss: the one last flushed, and those written since.
class Expectation {
 public:
  /// `junk`: blocks that nobody wrote may hold anything (zeroing is skipped).
  explicit Expectation(bool junk) : junk_(junk) {}
  void create(DeviceId id) { devices_[id]; }
  void snapshot(DeviceId id, DeviceId origin) { devices_[id] = devices_[origin]; }
  void write(DeviceId id, std::uint64_t block, std::uint64_t value) { devices_[id][block].written.push_back(value); }
  /// Everything acknowledged so far is durable.
  void settle() {
    for (auto& [id, blocks] : devices_) {
      for (auto& [block, values] : blocks) {
        values.flushed = values.written.empty() ? values.flushed : values.written.back();
        values.written.clear();
      }
    }
  }
  void compare(DeviceId id, std::uint64_t block, std::uint64_t value) const {
    const auto found = devices_.at(id).find(block);
    if (found == devices_.at(id).end()) {
      ASSERT_TRUE(junk_ || value == 0) << "device " << id << " block " << block << " was never written, has " << value;
      return;
    }
    const auto& [flushed, written] = found->second;
    if (written.empty()) {
      ASSERT_EQ(value, *flushed) << "device " << id << " block " << block << ": a flush acknowledged it";
    } else if (value != ~std::uint64_t{0}) {  // torn between two values: only 512 bytes are atomic
      const bool known = std::find(written.begin(), written.end(), value) != written.end();
      ASSERT_TRUE(known || value == flushed.value_or(0)) << "device " << id << " block " << block << " has " << value;
    }
  }
  [[nodiscard]] std::vector<DeviceId> ids() const {
    std::vector<DeviceId> ids;
    for (const auto& [id, blocks] : devices_) {
      ids.push_back(id);
    }
    return ids;
  }

 private:
  struct Values {
    std::optional<std::uint64_t> flushed;
    std::vector<std::uint64_t> written;
  };
  bool junk_;
  std::map<DeviceId, std::map<std::uint64_t, Values>> devices_;
};

/// Somebody else's device.
class Borrowed final : public BlockIo {
 public:
  explicit Borrowed(BlockIo& io) : io_(io) {}
  std::uint64_t size_bytes() const override { return io_.size_bytes(); }
  std::uint32_t block_bytes() const override { return io_.block_bytes(); }
  Status read(std::uint64_t offset, std::span<std::byte> buffer) override { return io_.read(offset, buffer); }
  Status write(std::uint64_t offset, std::span<const std::byte> buffer) override { return io_.write(offset, buffer); }
  Status flush() override { return io_.flush(); }
  Status discard(std::uint64_t offset, std::uint64_t length) override { return io_.discard(offset, length); }

 private:
  BlockIo& io_;
};

/// The pool as the loop devices of the exported files use it: write, fsync, fallocate; and the directory, as the driver does.
class Exported {
 public:
  explicit Exported(BlockIo& io) : files_(borrow(io)) {}

  Status create_device(DeviceId id, std::uint64_t size_bytes) {
    SBENCH_TRY(files_->make_node({}, kRootNode, std::to_string(id), S_IFREG | 0600, 0));
    struct stat wanted {};
    wanted.st_size = static_cast<off_t>(size_bytes);
    SBENCH_TRY(files_->set_attributes(node(id), 0, static_cast<unsigned>(AttributeMask::size), wanted));
    return {};
  }
  Status create_snapshot(DeviceId id, DeviceId origin) {
    SBENCH_TRY(files_->make_link(node(origin), kRootNode, std::to_string(id)));
    return {};
  }
  Status write(DeviceId id, std::uint64_t offset, std::span<const std::byte> data) {
    SBENCH_TRY(files_->write(node(id), node(id), data, offset));
    return {};
  }
  Status zero(DeviceId id, std::uint64_t offset, std::uint64_t length) {
    return files_->allocate(node(id), node(id), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  }
  Status flush() { return files_->sync_file(node(1), node(1), true); }

 private:
  static std::unique_ptr<DeviceFiles> borrow(BlockIo& io) {
    auto device = std::make_unique<Borrowed>(io);
    auto pool = must(Pool::open(*device, quiet_options()));
    return std::make_unique<DeviceFiles>(std::move(device), std::move(pool));
  }
  static NodeId node(DeviceId id) { return 2 + NodeId{id}; }
  std::unique_ptr<DeviceFiles> files_;
};

/// Plays a seeded history until the power goes; false when it ended before. `pool`: a Pool, or one that is Exported.
template <typename AnyPool>
bool play(AnyPool& pool, std::uint64_t seed, Expectation& expected) {
  Rng rng(seed, "history");
  std::uint64_t serial = 0;
  DeviceId next = 1;
  for (int step = 0; step < 14; ++step) {
    const std::uint64_t choice = step == 0 ? 0 : rng.below(10);
    Status done;
    if (choice == 0) {
      done = pool.create_device(next, kDeviceBytes);
      if (done.ok()) {
        expected.create(next++);
        expected.settle();
      }
    } else if (choice == 1 && next > 1) {
      const auto origin = static_cast<DeviceId>(1 + rng.below(next - 1));
      done = pool.create_snapshot(next, origin);
      if (done.ok()) {
        expected.snapshot(next++, origin);
        expected.settle();
      }
    } else if (choice <= 6) {
      const auto id = static_cast<DeviceId>(1 + rng.below(next - 1));
      const std::uint64_t first = rng.below(kBlocks);
      const std::uint64_t length = 1 + rng.below(std::min<std::uint64_t>(kBlocks - first, rng.below(2) == 0 ? 2 : 20));
      ++serial;
      for (std::uint64_t i = first; i < first + length; ++i) {
        expected.write(id, i, serial);  // before it is tried: a failed write may have happened
      }
      done = pool.write(id, first * kBlock, filled(length * kBlock, serial));
    } else if (choice == 7) {
      const auto id = static_cast<DeviceId>(1 + rng.below(next - 1));
      const std::uint64_t chunk = rng.below(kDeviceBytes / kSmallChunk);
      for (std::uint64_t i = 0; i < kSmallChunk / kBlock; ++i) {
        expected.write(id, chunk * (kSmallChunk / kBlock) + i, 0);
      }
      done = pool.zero(id, chunk * kSmallChunk, kSmallChunk);
    } else {
      done = pool.flush();
      if (done.ok()) {
        expected.settle();
      }
    }
    if (!done.ok()) {
      EXPECT_EQ(done.error().code, EIO) << done.error().what;
      return true;
    }
  }
  return false;
}

/// Opens what the power loss left and holds it against what may be there.
void verify(std::vector<std::byte> content, const Expectation& expected) {
  MemoryDevice after(std::move(content));
  const auto report = check_pool(after);
  ASSERT_THAT(report.findings, testing::IsEmpty());
  const auto pool = must(Pool::open(after, quiet_options()));
  for (const DeviceId id : expected.ids()) {
    std::vector<std::byte> data(kDeviceBytes);
    const Status read = pool->read(id, 0, data);
    ASSERT_TRUE(read.ok()) << read.error().what;
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      expected.compare(id, block, value_of(std::span(data).subspan(block * kBlock, kBlock)));
    }
  }
  must(pool->create_device(kDeviceIds - 1, kDeviceBytes));  // and it goes on working
  must(pool->write(kDeviceIds - 1, 0, filled(kSmallChunk, 99)));
  must(pool->flush());
  ASSERT_THAT(check_pool(after).findings, testing::IsEmpty());
}

/// Cuts the power at every write of seeded histories that `play_on` plays on a formatted device.
template <typename PlayOn>
void cut_everywhere(std::uint64_t rounds, PlayOn&& play_on) {
  std::uint64_t cuts = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = test_seed() + round;
    bool cut = true;
    for (std::uint64_t operations = 0; cut; ++operations) {
      SCOPED_TRACE(fmt::format("SBENCH_TEST_SEED={} cut after {} operations", seed, operations));
      FormatOptions format;
      format.metadata_bytes = 512 * kKiB;
      format.skip_zeroing = round % 2 == 1;
      MemoryDevice device(4 * kMiB);
      must(Pool::format(device, format));
      Expectation expected(format.skip_zeroing);
      cut = play_on(device, operations, seed, expected);
      Rng rng(seed + operations, "power loss");
      for (int image = 0; image < 3; ++image) {
        verify(device.content_after_power_loss(rng), expected);
        if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) {
          return;
        }
      }
      ++cuts;
    }
  }
  EXPECT_GT(cuts, rounds * 20);
}

TEST(PowerLoss, at_every_write_of_small_histories_leaves_a_whole_pool_with_all_that_was_flushed) {
  cut_everywhere(test_rounds(4), [](MemoryDevice& device, std::uint64_t operations, std::uint64_t seed, Expectation& expected) {
    const auto pool = must(Pool::open(device, quiet_options()));
    device.cut_power_after(operations);
    return play(*pool, seed, expected);
  });
}

TEST(PowerLoss, what_fsync_of_an_exported_file_acknowledged_is_there_afterwards) {
  cut_everywhere(test_rounds(2), [](MemoryDevice& device, std::uint64_t operations, std::uint64_t seed, Expectation& expected) {
    Exported pool(device);
    device.cut_power_after(operations);
    return play(pool, seed + 1000, expected);
  });
}

}  // namespace
}  // namespace sbench::thin_pool
