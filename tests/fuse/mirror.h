// mirror.h: the smallest real FileSystem: shows a directory of the host as it is.
//
// One O_PATH descriptor a node, so for small trees. Tests tell it how to open
// files (switches below), to hang, and count what reaches it.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <unordered_map>

#include "drivers/base/fd.h"
#include "drivers/base/file_system.h"

namespace sbench::test {

/// Lives in memory that the server shares with the test.
struct MirrorControl {
  std::atomic<bool> backing{true};         ///< offer the file for passthrough
  std::atomic<bool> direct{false};         ///< ask for direct I/O
  std::atomic<std::uint64_t> key_offset{0};  ///< added to backing keys: as if files were copied up
  std::atomic<bool> hang{false};           ///< reads of files never return
  std::atomic<int> release_ms{0};          ///< how long a close takes in the server
  std::atomic<std::uint64_t> releases{0};  ///< closes that are done
  std::atomic<std::uint64_t> opens{0};     ///< of files
  std::atomic<std::uint64_t> syncs{0};     ///< of files
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<std::uint64_t> lookups{0};
  std::atomic<std::uint64_t> nodes{0};
  std::atomic<std::uint64_t> nodes_peak{0};
};

class Mirror final : public FileSystem {
 public:
  Mirror(const std::filesystem::path& root, MirrorControl& control);

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
  Status sync_directory(NodeId) override { return {}; }
  Result<struct statvfs> statistics() override;
  Result<std::string> xattr(NodeId node, const char* name) override;
  Result<std::string> xattr_names(NodeId node) override;
  Status set_xattr(NodeId node, const char* name, std::string_view value, int flags) override;
  Status remove_xattr(NodeId node, const char* name) override;
  Status sync() override { return {}; }

 private:
  class DataFile;
  struct Node {
    Fd path;
    std::pair<dev_t, ino_t> identity;
    std::uint64_t references = 0;
  };
  [[nodiscard]] int fd_of(NodeId node);
  [[nodiscard]] std::string proc_path(NodeId node);
  [[nodiscard]] Result<Entry> entry(NodeId parent, std::string_view name);
  [[nodiscard]] Result<Entry> give(const Caller& caller, NodeId parent, std::string_view name);
  [[nodiscard]] OpenFile opened(Fd file);

  MirrorControl& control_;
  std::mutex mutex_;
  std::unordered_map<NodeId, Node> nodes_;
  std::map<std::pair<dev_t, ino_t>, NodeId> by_identity_;
  NodeId next_ = kRootNode;
};

}  // namespace sbench::test
