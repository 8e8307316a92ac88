// device_files.h: a pool as a file system: one flat directory, one file for each thin device.
//
// The file's name is the device's number. What is done to files is done to devices:
//   create            a new device of 0 bytes          truncate   grows it (devices only grow)
//   link(2)           a snapshot: the new name has the same content, and its own from then on
//   unlink            deletes the device; EBUSY while it is open
//   fsync             pool flush, on any file or the directory
//   punch a hole      the pool's zero(). A zeroed range that keeps its space is refused, as dm-thin
//                     refuses it: the kernel then writes zeros
//   xattr user.pool on the directory, user.own_bytes on a file: figures as text
// Reads and writes are direct: multiples of the device's block size, or EINVAL.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "drivers/base/file_system.h"
#include "drivers/thin_pool/pool.h"

namespace sbench::thin_pool {

class DeviceFiles : public FileSystem {
 public:
  /// Keeps the device open as long as the pool.
  DeviceFiles(std::unique_ptr<BlockIo> io, std::unique_ptr<Pool> pool) : io_(std::move(io)), pool_(std::move(pool)) {}

  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId, std::uint64_t) override {}
  Result<struct stat> attributes(NodeId node, HandleId handle) override;
  Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) override;
  Result<std::string> read_link(NodeId node) override;
  Result<Entry> make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device) override;
  Result<Entry> make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) override;
  Result<Entry> make_symlink(const Caller& caller, NodeId parent, std::string_view name, std::string_view target) override;
  Result<Entry> make_link(NodeId node, NodeId parent, std::string_view name) override;
  Status unlink(NodeId parent, std::string_view name) override;
  Status remove_directory(NodeId parent, std::string_view name) override;
  Status rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                unsigned flags) override;
  Result<Created> create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, int flags) override;
  Result<OpenFile> open(NodeId node, int flags) override;
  Result<std::size_t> read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) override;
  Result<std::size_t> write(NodeId node, HandleId handle, std::span<const std::byte> from, std::uint64_t offset) override;
  void written(NodeId, HandleId) override {}
  void release(NodeId node, HandleId handle) override;
  Status sync_file(NodeId node, HandleId handle, bool data_only) override;
  Status allocate(NodeId node, HandleId handle, int mode, std::uint64_t offset, std::uint64_t length) override;
  Result<std::uint64_t> seek(NodeId node, HandleId handle, std::uint64_t offset, int whence) override;
  Result<std::size_t> copy_range(HandleId from, std::uint64_t from_offset, HandleId to, std::uint64_t to_offset,
                                 std::size_t length) override;
  Result<HandleId> open_directory(NodeId node) override;
  Status read_directory(NodeId node, HandleId handle, std::uint64_t cookie, const TakeEntry& take) override;
  void release_directory(NodeId, HandleId) override {}
  Status sync_directory(NodeId node) override;
  Result<struct statvfs> statistics() override;
  Result<std::string> xattr(NodeId node, const char* name) override;
  Result<std::string> xattr_names(NodeId node) override;
  Status set_xattr(NodeId node, const char* name, std::string_view value, int flags) override;
  Status remove_xattr(NodeId node, const char* name) override;
  Status sync() override;

 protected:
  [[nodiscard]] Pool& pool() { return *pool_; }
  [[nodiscard]] const BlockIo& io() const { return *io_; }
  /// EISDIR for the pool's directory.
  [[nodiscard]] static Result<DeviceId> device_of(NodeId node);
  /// ENOENT for what is no device's number.
  [[nodiscard]] static Result<DeviceId> parse_name(std::string_view name);

 private:
  [[nodiscard]] struct stat attributes_of(DeviceId id, const DeviceRecord& record) const;
  [[nodiscard]] Result<Entry> entry_of(DeviceId id);

  std::unique_ptr<BlockIo> io_;  ///< must outlive the pool
  std::unique_ptr<Pool> pool_;
  std::mutex mutex_;
  std::map<DeviceId, int> open_;  ///< how often each device is open
};

/// Figures of a pool as user.pool shows them: "data_used=… data_total=… metadata_used=… metadata_total=… transaction=…
/// waiting=…": bytes; waiting: writes that wait for space.
[[nodiscard]] std::string describe(const PoolStatistics& statistics);

}  // namespace sbench::thin_pool
