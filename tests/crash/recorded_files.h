// recorded_files.h: one file that is a block device's content, and whose every write is logged.
//
// A FileSystem for drivers/fuse: a directory with `device`, the content, under a loop device
// with direct I/O, and `marks`: what is written to that stands in the log as a mark, in order
// with the device's writes. fsync of the device is a flush; nothing else is durable.
#pragma once

#include "drivers/base/file_system.h"
#include "tests/crash/write_log.h"

namespace sbench::crash {

class RecordedFiles final : public FileSystem {
 public:
  /// `image`: the content, of its full size.
  RecordedFiles(Fd image, std::uint64_t size_bytes, Fd log)
      : image_(std::move(image)), size_bytes_(size_bytes), log_(std::move(log)) {}

  static constexpr const char* kDevice = "device";
  static constexpr const char* kMarks = "marks";

  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId, std::uint64_t) override {}
  Result<struct stat> attributes(NodeId node, HandleId handle) override;
  Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) override;
  Result<OpenFile> open(NodeId node, int flags) override;
  Result<std::size_t> read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) override;
  Result<std::size_t> write(NodeId node, HandleId handle, std::span<const std::byte> from,
                            std::uint64_t offset) override;
  void written(NodeId, HandleId) override {}
  void release(NodeId, HandleId) override {}
  Status sync_file(NodeId node, HandleId handle, bool data_only) override;
  Status allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset, std::uint64_t length) override;
  Result<HandleId> open_directory(NodeId node) override;
  Status read_directory(NodeId node, HandleId handle, std::uint64_t cookie, const TakeEntry& take) override;
  void release_directory(NodeId, HandleId) override {}
  Status sync_directory(NodeId) override { return {}; }
  Result<struct statvfs> statistics() override;
  Status sync() override { return {}; }

  // What a directory of two files has not.
  Result<std::string> read_link(NodeId) override { return refused(); }
  Result<Entry> make_node(const Caller&, NodeId, std::string_view, mode_t, dev_t) override { return refused(); }
  Result<Entry> make_directory(const Caller&, NodeId, std::string_view, mode_t) override { return refused(); }
  Result<Entry> make_symlink(const Caller&, NodeId, std::string_view, std::string_view) override { return refused(); }
  Result<Entry> make_link(NodeId, NodeId, std::string_view) override { return refused(); }
  Status unlink(NodeId, std::string_view) override { return refused(); }
  Status remove_directory(NodeId, std::string_view) override { return refused(); }
  Status rename(NodeId, std::string_view, NodeId, std::string_view, unsigned) override { return refused(); }
  Result<Created> create(const Caller&, NodeId, std::string_view, mode_t, int) override { return refused(); }
  Result<std::uint64_t> seek(NodeId, HandleId, std::uint64_t, int) override { return refused(); }
  Result<std::size_t> copy_range(HandleId, std::uint64_t, HandleId, std::uint64_t, std::size_t) override {
    return refused();
  }
  Result<std::string> xattr(NodeId, const char*) override { return plain_error(ENODATA, "no such attribute"); }
  Result<std::string> xattr_names(NodeId) override { return std::string(); }
  Status set_xattr(NodeId, const char*, std::string_view, int) override { return refused(); }
  Status remove_xattr(NodeId, const char*) override { return refused(); }

 private:
  static Error refused() { return plain_error(EPERM, "a recorded device is one file, which stays"); }

  Fd image_;
  std::uint64_t size_bytes_;
  LogWriter log_;
  std::mutex mutex_;  ///< the log's order is the image's
};

}  // namespace sbench::crash
