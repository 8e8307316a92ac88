// dataset_files.h: a dataset of a pool as a FileSystem.
//
// A node's number is its object's; times of reading are not kept (as atime=off).
// Snapshots are read-only. Under quota, statistics() shows the quota.
#pragma once

#include <memory>

#include "drivers/cow_fs/pool.h"

namespace sbench::cow_fs {

class DatasetFiles final : public FileSystem {
 public:
  /// `pool` must outlive it. ENOENT.
  [[nodiscard]] static Result<std::unique_ptr<DatasetFiles>> open(Pool& pool, std::string_view name);
  ~DatasetFiles() override;

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

  /// The file system that gave the handle out.
  [[nodiscard]] static DatasetFiles& files_of(HandleId handle) { return *handle_of(handle).files; }
  /// Open files and directories.
  [[nodiscard]] std::uint64_t open_handles() const { return handles_; }

 private:
  struct Handle {
    DatasetFiles* files = nullptr;
    ObjectRef object;
    bool synchronous = false;  ///< O_SYNC, O_DSYNC
  };
  DatasetFiles(Pool& pool, Dataset& dataset) : pool_(pool), dataset_(dataset), tree_(*dataset.tree) {}

  /// One reference more.
  [[nodiscard]] Entry enter(const ObjectRef& object);
  void drop(const ObjectRef& object, std::uint64_t references);
  [[nodiscard]] Result<Entry> make(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, dev_t device,
                                   std::string_view target);
  [[nodiscard]] Result<OpenFile> open_object(const ObjectRef& object, int flags);
  static Handle& handle_of(HandleId id) { return *reinterpret_cast<Handle*>(id); }

  Pool& pool_;
  Dataset& dataset_;
  Tree& tree_;
  std::uint64_t handles_ = 0;
  std::map<std::uint64_t, ObjectRef> referenced_;  ///< objects with references given out
};

}  // namespace sbench::cow_fs
