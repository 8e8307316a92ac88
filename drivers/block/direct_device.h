// direct_device.h: a file or block device as BlockIo, past the page cache.
//
// O_DIRECT throughout. A single transfer is one pread(2) or pwrite(2) on the
// calling thread, which costs least; several at once go through the thread's
// own io_uring in one system call, or one by one where the kernel refuses rings;
// writes that stand side by side are one request. begin_writes() has a ring of its own.
// Memory that is not aligned passes through an aligned buffer.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/block/block_io.h"

namespace sbench {

/// Thread-safe.
class DirectDevice final : public BlockIo {
 public:
  ~DirectDevice() override;
  /// An existing block device, or a regular file on a file system with O_DIRECT. With `read_only`, writes are EBADF.
  [[nodiscard]] static Result<std::unique_ptr<DirectDevice>> open(const std::filesystem::path& path,
                                                                  bool read_only = false);

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] std::uint32_t block_bytes() const override { return block_bytes_; }
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> buffer) override;
  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> buffer) override;
  [[nodiscard]] Status write_all(std::span<const Transfer> transfers) override;
  [[nodiscard]] Status begin_writes(std::span<const Transfer> transfers) override;
  [[nodiscard]] Status finish_writes() override;
  [[nodiscard]] Status read_all(std::span<const Fill> fills) override;
  /// fdatasync(2): writes the device's volatile cache out.
  [[nodiscard]] Status flush() override;
  /// BLKDISCARD, or a punched hole in a file. A device that cannot is asked only once.
  [[nodiscard]] Status discard(std::uint64_t offset, std::uint64_t length) override;

 private:
  struct Writes;
  DirectDevice();
  [[nodiscard]] Status check(std::uint64_t offset, std::uint64_t length, const char* what) const;
  [[nodiscard]] static bool is_aligned(const void* memory);
  [[nodiscard]] bool can_queue(std::span<const Transfer> transfers) const;
  /// Writes what `done` bytes of the transfers, one after the other, leave.
  [[nodiscard]] Status complete(std::span<const Transfer> transfers, std::size_t done);

  std::string path_;
  Fd fd_;
  std::uint64_t size_bytes_ = 0;
  std::uint32_t block_bytes_ = 512;
  bool is_block_device_ = false;
  std::atomic<bool> can_discard_ = true;
  std::unique_ptr<Writes> writes_;  ///< made when first used
};

}  // namespace sbench
