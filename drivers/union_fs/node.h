// node.h: what the union knows of a file while somebody refers to it.
//
// A node is found by the identity of its real file (file system number, inode
// number), so every name of a hard-linked file leads to one node. It is reached
// through one of its names (parent, name), or through `pin` once that is gone.
//
// What guards what: `parent`, `name`, `moved` and `redirect` change only under the union's
// tree lock held exclusively; `branches` and the names inside a directory under
// that directory's lock, or the tree lock held exclusively; `branch` rises from a lower branch to the writable one
// once, under the parent directory's lock.
#pragma once

#include <dirent.h>

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "drivers/union_fs/directory_index.h"
#include "drivers/union_fs/fd_cache.h"

namespace sbench::union_fs {

/// Branch 0 is the writable one (also when there is none); 1 … n are the lower ones, nearest first.
using BranchIndex = std::uint16_t;
inline constexpr BranchIndex kUpper = 0;

/// The identity of a real file: number of its file system (Branches::file_system) and inode.
struct Key {
  std::uint64_t inode = 0;
  std::uint16_t file_system = 0;
  friend bool operator==(const Key&, const Key&) = default;
};

enum class Known : std::uint8_t { unknown, no, yes };

struct Node;

struct DirectoryState {
  std::shared_mutex lock;
  std::vector<BranchIndex> branches;  ///< that make up the directory, nearest first; never empty
  /// Paths of it in branches where it is not simply (path of the parent)/name; sorted by branch.
  std::vector<std::pair<BranchIndex, std::string>> moved;
  /// Where the union of the lower branches alone shows its lower content, when not at (that of the parent)/name.
  std::string redirect;
  /// Branches where it may hold whiteouts that are files with an attribute (opaque = x); nearly always empty.
  std::vector<BranchIndex> xattr_whiteouts;
  std::shared_ptr<DirectoryIndex> index;  ///< nullptr: not read yet, or forgotten
  std::size_t index_bytes = 0;            ///< as the union counted it; guarded by its cache lock, like the next
  std::list<Node*>::iterator cached;      ///< its place among the directories with an index, when index_bytes > 0
  std::atomic<std::uint32_t> probes{0};   ///< branches asked in vain since the index went
  std::atomic<bool> merged{false};        ///< more than one branch
  std::atomic<bool> indexed{false};       ///< index != nullptr, for a look without the lock
  std::atomic<bool> oversized{false};     ///< its index alone fills the cache: only reading it is worth one
  std::atomic<bool> dead{false};          ///< removed: nothing is in it, nothing can come
  std::atomic<Known> impure{Known::unknown};       ///< the upper directory holds files with an origin
  std::atomic<Known> set_group_id{Known::unknown};
  std::atomic<Known> default_acl{Known::unknown};
};

/// Things few nodes have.
struct NodeExtra {
  std::mutex copying;      ///< held through a copy-up of the node
  std::mutex lock;         ///< guards the rest
  FdLease pin;             ///< O_PATH: the file, whose known name is gone
  std::uint16_t data_branch = 0;  ///< metacopy: where the data is; 0: in the file itself
  std::string data_path;          ///< metacopy: its path in that branch
};

struct Node {
  std::atomic<std::uint64_t> holds{0};  ///< references given out, children, open handles
  Node* parent = nullptr;               ///< of `name`; held. nullptr: the root
  Node* next = nullptr;                 ///< in the node table's bucket
  std::string name;
  Key key;                  ///< guarded by the table's locks
  std::uint64_t inode = 0;  ///< st_ino shown, for life
  std::atomic<BranchIndex> branch{0};   ///< that attributes come from
  std::uint32_t generation = 0;
  unsigned char type = 0;               ///< DT_*
  std::atomic<bool> metacopy{false};    ///< the file's data is elsewhere (NodeExtra)
  std::atomic<bool> linked{false};      ///< reached through its pseudo-link, whatever its names
  std::atomic<bool> gone{false};        ///< its last name was removed: st_nlink is 0
  bool in_table = false;                ///< guarded by the table's locks
  std::atomic<std::uint8_t> shard{0};   ///< of the table, while the node is in it; changes under the locks of both
  std::unique_ptr<DirectoryState> directory;  ///< directories only
  std::atomic<NodeExtra*> extra{nullptr};

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { delete extra.load(); }

  [[nodiscard]] bool is_directory() const { return directory != nullptr; }
  [[nodiscard]] bool is_upper() const { return branch.load(std::memory_order_acquire) == kUpper; }

  /// Made at the first call.
  NodeExtra& more() {
    if (NodeExtra* there = extra.load(std::memory_order_acquire)) {
      return *there;
    }
    auto* fresh = new NodeExtra;
    NodeExtra* expected = nullptr;
    if (!extra.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) {
      delete fresh;
      return *expected;
    }
    return *fresh;
  }
  /// The pin, or nullptr.
  [[nodiscard]] FdLease pin() const {
    NodeExtra* there = extra.load(std::memory_order_acquire);
    if (there == nullptr) {
      return nullptr;
    }
    const std::lock_guard guard(there->lock);
    return there->pin;
  }
};

}  // namespace sbench::union_fs
