// pool_files.h: a whole pool as one file system: a directory for each dataset.
//
// One process has the pool open; what is done to the top directory is how it is told what to do:
//   mkdir NAME                     a new dataset, with the options it was opened with
//   rmdir NAME                     destroys the dataset; EBUSY while files of it are open
//   setxattr user.clone            value "ORIGIN NAME": the next mkdir NAME makes a dataset that holds what ORIGIN
//                                  holds then. The snapshot in between, ORIGIN@NAME, goes with its last clone (as
//                                  Docker's driver does it)
//   fsync of it                    everything acknowledged is durable, in a committed group
//   getxattr user.pool             figures as text; user.own_bytes of a dataset's directory: what destroying it frees
// Snapshots are not shown. Files of different datasets have different inode numbers, and rename and link
// between datasets are EXDEV, as between mounts.
#pragma once

#include "drivers/cow_fs/dataset_files.h"

namespace sbench::cow_fs {

class PoolFiles final : public FileSystem {
 public:
  /// Keeps the device open as long as the pool.
  PoolFiles(std::unique_ptr<BlockIo> io, std::unique_ptr<Pool> pool, const DatasetOptions& new_datasets)
      : io_(std::move(io)), pool_(std::move(pool)), new_datasets_(new_datasets) {}
  ~PoolFiles() override;

  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId node, std::uint64_t references) override;
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
  void release_directory(NodeId node, HandleId handle) override;
  Status sync_directory(NodeId node) override;
  Result<struct statvfs> statistics() override;
  Result<std::string> xattr(NodeId node, const char* name) override;
  Result<std::string> xattr_names(NodeId node) override;
  Status set_xattr(NodeId node, const char* name, std::string_view value, int flags) override;
  Status remove_xattr(NodeId node, const char* name) override;
  Status sync() override;

 private:
  /// A dataset that somebody looked into. Its nodes' numbers carry its number.
  struct Shown {
    std::string name;
    std::uint64_t dataset = 0;
    std::unique_ptr<DatasetFiles> files;
  };
  using Number = std::uint32_t;

  [[nodiscard]] Result<Number> show(std::string_view name);
  /// ESTALE for a dataset that was destroyed.
  [[nodiscard]] Result<Shown*> shown_of(NodeId node);
  [[nodiscard]] Entry outside(Number number, const Shown& shown, Entry entry) const;
  [[nodiscard]] struct stat root_attributes() const;
  [[nodiscard]] Result<Entry> root_entry(std::string_view name);
  [[nodiscard]] Status clone(std::string_view origin, std::string_view name);
  [[nodiscard]] Status destroy(std::string_view name);
  template <typename Make>
  [[nodiscard]] Result<Entry> make(NodeId parent, Make&& make);

  std::unique_ptr<BlockIo> io_;  ///< must outlive the pool
  std::unique_ptr<Pool> pool_;
  DatasetOptions new_datasets_;
  std::map<Number, Shown> shown_;
  std::map<std::string, Number, std::less<>> numbers_;
  Number next_ = 1;
  std::map<std::string, std::string> origins_;  ///< by the name of the clone to be made
};

/// "used=… total=… group=…", bytes.
[[nodiscard]] std::string describe(const PoolStatistics& statistics);

}  // namespace sbench::cow_fs
