// recorded_files.h: one file that is a block device's content, and whose every write is logged.
//
// A FileSystem for drivers/fuse: a directory with `device`, the content, under a loop device
// with direct I/O, and `marks`: what is written to that stands in the log as a mark, in order
// with the device's writes. fsync of the device is a flush; nothing else is durable.
#pragma once

#include "drivers/base/fixed_files.h"
#include "tests/crash/write_log.h"

namespace sbench::crash {

class RecordedFiles final : public FixedFiles {
 public:
  /// `image`: the content, of its full size.
  RecordedFiles(Fd image, std::uint64_t size_bytes, Fd log)
      : image_(std::move(image)), size_bytes_(size_bytes), log_(std::move(log)) {}

  static constexpr const char* kDevice = "device";
  static constexpr const char* kMarks = "marks";

  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  Result<struct stat> attributes(NodeId node, HandleId handle) override;
  Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) override;
  Result<OpenFile> open(NodeId node, int flags) override;
  Result<std::size_t> read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) override;
  Result<std::size_t> write(NodeId node, HandleId handle, std::span<const std::byte> from,
                            std::uint64_t offset) override;
  Status sync_file(NodeId node, HandleId handle, bool data_only) override;
  Status allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset, std::uint64_t length) override;
  Status read_directory(NodeId node, HandleId handle, std::uint64_t cookie, const TakeEntry& take) override;

 private:
  Fd image_;
  std::uint64_t size_bytes_;
  LogWriter log_;
  std::mutex mutex_;  ///< the log's order is the image's
};

}  // namespace sbench::crash
