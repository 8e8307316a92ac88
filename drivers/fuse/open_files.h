// open_files.h: the files open through a session, and how the kernel does I/O on each.
//
// The kernel wants all open files of one of its nodes to agree: either they all
// go to one backing file (passthrough), or they share its page cache. A file
// system changes backing files, though: a copy-up while a reader is open. Then
// the open is answered with ESTALE; the kernel looks the name up again, and is
// given another of *its* nodes for the same NodeId: an alias. Old opens keep what
// they have (the lower file, as on overlayfs), new ones agree among themselves.
//
//   KernelNode = NodeId | alias << 48
//
// An alias other than the newest is never opened, and nothing about it is cached.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "drivers/base/file_system.h"
#include "drivers/fuse/known_nodes.h"

namespace sbench::fuse {

inline constexpr unsigned kAliasShift = 48;
[[nodiscard]] inline NodeId node_of(KernelNode node) { return node & ((1ULL << kAliasShift) - 1); }

enum class IoMode {
  cached,       ///< the kernel's page cache over read() and write()
  passthrough,  ///< the backing file
  direct,       ///< every read and write reaches the server
};

/// One open file: what the kernel's file handle points to.
class OpenRecord {
 public:
  OpenRecord(FileSystem& files, NodeId its_node, const OpenFile& opened, bool for_writing)
      : node(its_node), file(opened), writable(for_writing), files_(files) {}
  ~OpenRecord() { files_.release(node, file.handle); }
  OpenRecord(const OpenRecord&) = delete;
  OpenRecord& operator=(const OpenRecord&) = delete;

  const NodeId node;
  const OpenFile file;
  const bool writable;
  KernelNode kernel_node = 0;
  IoMode mode = IoMode::cached;

 private:
  FileSystem& files_;
};

class OpenFiles {
 public:
  /// `device`: the connection's descriptor. Without `passthrough` no file gets it.
  OpenFiles(int device, bool passthrough) : device_(device), passthrough_(passthrough) {}

  struct Admitted {
    OpenRecord* record = nullptr;  ///< valid until close()
    IoMode mode = IoMode::cached;
    std::int32_t backing_id = 0;
  };
  /// Takes in an open file of `kernel_node`. `wants_server`: its I/O must reach the server (set-id
  /// bits are to fall at a write). Nothing when it cannot agree with the files open already: the
  /// answer is ESTALE then, and with `may_retire` a new alias was made for the opens that follow.
  [[nodiscard]] std::optional<Admitted> admit(KernelNode kernel_node, std::shared_ptr<OpenRecord> record,
                                              bool wants_server, bool may_retire);
  /// Ends an open file; its release() may follow a moment later.
  void close(OpenRecord* record);

  /// The alias that lookups answer with and that may be opened.
  [[nodiscard]] KernelNode current(NodeId node);
  /// Some file of the node that is open, or nothing.
  [[nodiscard]] std::shared_ptr<OpenRecord> any_open(NodeId node);
  /// One that is open for passthrough writing: attributes may change without notice.
  [[nodiscard]] std::shared_ptr<OpenRecord> unseen_writer(NodeId node);
  /// The kernel let go of `node` altogether.
  void forgotten(KernelNode node);

 private:
  struct Mode {
    IoMode mode = IoMode::cached;
    std::uint64_t backing_key = 0;
    std::int32_t backing_id = 0;
    unsigned opens = 0;
  };
  struct Node {
    std::uint16_t alias = 0;
    std::unordered_map<std::uint16_t, Mode> modes;  ///< of aliases with cached or passthrough opens
    std::vector<std::shared_ptr<OpenRecord>> records;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<NodeId, Node> nodes;
  };
  static constexpr std::size_t kShards = 16;

  Shard& shard_of(NodeId node) { return shards_[(node ^ (node >> 7)) % kShards]; }
  [[nodiscard]] bool agree(Node& node, OpenRecord& record, IoMode wanted, std::int32_t& backing_id);
  [[nodiscard]] std::int32_t open_backing(int fd);
  void drop_mode(Node& node, const OpenRecord& record);

  int device_;
  std::atomic<bool> passthrough_;
  std::array<Shard, kShards> shards_;
};

}  // namespace sbench::fuse
