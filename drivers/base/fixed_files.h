// fixed_files.h: a FileSystem that is one directory of files which nobody makes, renames or removes.
//
// What stands behind a loop device, say. A subclass says which files there are and what reading and writing them does.
#pragma once

#include <sys/stat.h>

#include "drivers/base/file_system.h"

namespace sbench {

class FixedFiles : public FileSystem {
 public:
  void forget(NodeId, std::uint64_t) override {}
  void written(NodeId, HandleId) override {}
  void release(NodeId, HandleId) override {}
  Result<HandleId> open_directory(NodeId node) override { return HandleId{node}; }
  void release_directory(NodeId, HandleId) override {}
  Status sync_directory(NodeId) override { return {}; }
  Status sync() override { return {}; }
  /// A loop device offers discard where the file system has a block size, and only there.
  Result<struct statvfs> statistics() override {
    struct statvfs status {};
    status.f_bsize = 4096;
    status.f_frsize = 4096;
    status.f_namemax = 255;
    return status;
  }

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

  // ENOSYS: the kernel asks no second time, as it would before each write.
  Result<std::string> xattr(NodeId, const char*) override { return no_attributes(); }
  Result<std::string> xattr_names(NodeId) override { return std::string(); }
  Status set_xattr(NodeId, const char*, std::string_view, int) override { return no_attributes(); }
  Status remove_xattr(NodeId, const char*) override { return no_attributes(); }

 protected:
  [[nodiscard]] static Error refused() { return plain_error(EPERM, "the files here stay as they are"); }

 private:
  [[nodiscard]] static Error no_attributes() { return plain_error(ENOSYS, "no extended attributes here"); }
};

}  // namespace sbench
