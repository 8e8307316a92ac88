// recording_io.h: a BlockIo in this process whose writes are logged, for engines without a kernel between.
//
// Stricter than a recorded device: a write that was not yet answered when a flush was asked for is not covered by it.
#pragma once

#include <mutex>

#include "drivers/block/block_io.h"
#include "tests/crash/marks.h"
#include "tests/crash/write_log.h"

namespace sbench::crash {

/// Thread-safe. `io` must outlive it; what is on it already is not in the log.
class RecordingIo final : public BlockIo, public Marks {
 public:
  explicit RecordingIo(BlockIo& io) : io_(io) {}

  std::uint64_t size_bytes() const override { return io_.size_bytes(); }
  std::uint32_t block_bytes() const override { return io_.block_bytes(); }
  Status read(std::uint64_t offset, std::span<std::byte> buffer) override { return io_.read(offset, buffer); }
  Status write(std::uint64_t offset, std::span<const std::byte> buffer) override {
    SBENCH_TRY(io_.write(offset, buffer));
    add(RecordKind::write, offset, buffer.size(), buffer);
    return {};
  }
  Status flush() override {
    add(RecordKind::flush, 0, 0, {});
    return io_.flush();
  }
  /// Zeros are as good as any content that is unspecified.
  Status discard(std::uint64_t offset, std::uint64_t length) override {
    SBENCH_TRY(io_.discard(offset, length));
    add(RecordKind::zero, offset, length, {});
    return {};
  }
  Status mark(const std::string& text) override {
    add(RecordKind::mark, 0, 0, std::as_bytes(std::span(text)));
    return {};
  }

  /// Once nobody uses the device any more.
  [[nodiscard]] WriteLog& log() { return log_; }

 private:
  void add(RecordKind kind, std::uint64_t offset, std::uint64_t length, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    log_.add(kind, offset, length, data);
  }

  BlockIo& io_;
  std::mutex mutex_;
  WriteLog log_;
};

}  // namespace sbench::crash
