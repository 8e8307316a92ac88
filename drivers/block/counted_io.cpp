#include "drivers/block/counted_io.h"

#include <atomic>

#include "drivers/base/shared_memory.h"
#include "drivers/block/direct_device.h"

namespace sbench {

struct IoSource::Counters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> discards{0};
  std::atomic<std::uint64_t> bytes_discarded{0};
  std::atomic<std::uint64_t> flushes{0};
};

namespace {

class CountedIo final : public BlockIo {
 public:
  CountedIo(std::unique_ptr<BlockIo> below, std::shared_ptr<IoSource::Counters> counters)
      : below_(std::move(below)), counters_(std::move(counters)) {}

  std::uint64_t size_bytes() const override { return below_->size_bytes(); }
  std::uint32_t block_bytes() const override { return below_->block_bytes(); }
  Status read(std::uint64_t offset, std::span<std::byte> buffer) override {
    SBENCH_TRY(below_->read(offset, buffer));
    count_read(buffer.size());
    return {};
  }
  Status write(std::uint64_t offset, std::span<const std::byte> buffer) override {
    SBENCH_TRY(below_->write(offset, buffer));
    count_write(buffer.size());
    return {};
  }
  Status write_all(std::span<const Transfer> transfers) override {
    SBENCH_TRY(below_->write_all(transfers));
    count_writes(transfers);
    return {};
  }
  Status begin_writes(std::span<const Transfer> transfers) override {
    SBENCH_TRY(below_->begin_writes(transfers));
    count_writes(transfers);
    return {};
  }
  Status finish_writes() override { return below_->finish_writes(); }
  Status read_all(std::span<const Fill> fills) override {
    SBENCH_TRY(below_->read_all(fills));
    for (const auto& fill : fills) {
      count_read(fill.data.size());
    }
    return {};
  }
  Status flush() override {
    SBENCH_TRY(below_->flush());
    ++counters_->flushes;
    return {};
  }
  Status discard(std::uint64_t offset, std::uint64_t length) override {
    SBENCH_TRY(below_->discard(offset, length));
    ++counters_->discards;
    counters_->bytes_discarded += length;
    return {};
  }

 private:
  void count_read(std::size_t bytes) {
    ++counters_->reads;
    counters_->bytes_read += bytes;
  }
  void count_write(std::size_t bytes) {
    ++counters_->writes;
    counters_->bytes_written += bytes;
  }
  void count_writes(std::span<const Transfer> transfers) {
    for (const auto& transfer : transfers) {
      count_write(transfer.data.size());
    }
  }

  std::unique_ptr<BlockIo> below_;
  std::shared_ptr<IoSource::Counters> counters_;
};

}  // namespace

DeviceCounters operator-(const DeviceCounters& after, const DeviceCounters& before) {
  DeviceCounters delta;
  delta.reads = after.reads - before.reads;
  delta.bytes_read = after.bytes_read - before.bytes_read;
  delta.writes = after.writes - before.writes;
  delta.bytes_written = after.bytes_written - before.bytes_written;
  delta.discards = after.discards - before.discards;
  delta.bytes_discarded = after.bytes_discarded - before.bytes_discarded;
  delta.flushes = after.flushes - before.flushes;
  delta.busy_ms = after.busy_ms - before.busy_ms;
  delta.in_flight = after.in_flight;
  return delta;
}

std::shared_ptr<IoSource::Counters> IoSource::make_counters() { return make_shared_memory<Counters>(); }

Result<std::unique_ptr<BlockIo>> IoSource::open() const {
  SBENCH_TRY_SET(auto direct, DirectDevice::open(path));
  if (counters == nullptr) {
    return std::unique_ptr<BlockIo>(std::move(direct));
  }
  return std::unique_ptr<BlockIo>(new CountedIo(std::move(direct), counters));
}

DeviceCounters IoSource::read() const {
  DeviceCounters counted;
  if (counters != nullptr) {
    counted.reads = counters->reads;
    counted.bytes_read = counters->bytes_read;
    counted.writes = counters->writes;
    counted.bytes_written = counters->bytes_written;
    counted.discards = counters->discards;
    counted.bytes_discarded = counters->bytes_discarded;
    counted.flushes = counters->flushes;
  }
  return counted;
}

}  // namespace sbench
