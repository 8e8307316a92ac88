// engine.h: the union file system itself; its calls are spread over union_fs_*.cpp by what they do.
//
// Locks, in the order they are taken: a node's NodeExtra::copying; the tree lock
// (shared by everything that uses names, exclusive for rename, which moves
// nodes); DirectoryState::lock, parents before children; then the small locks of
// tables and caches. Data moves (copy-up, read, write) happen outside the tree lock.
//
// Functions that say so in their name (_locked) are called with the lock of the
// directory they work in held; everything else private is called with the tree
// lock held and no directory locked, unless said otherwise.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "drivers/base/file_system.h"
#include "drivers/union_fs/branches.h"
#include "drivers/union_fs/dialect.h"
#include "drivers/union_fs/fd_cache.h"
#include "drivers/union_fs/file_copy.h"
#include "drivers/union_fs/node.h"
#include "drivers/union_fs/node_table.h"
#include "drivers/union_fs/pseudo_links.h"
#include "drivers/union_fs/tree_lock.h"
#include "drivers/union_fs/union_fs.h"
#include "drivers/union_fs/work_area.h"

namespace sbench::union_fs {

/// An errno that is an ordinary answer (no such name, name taken): no sentence is made for it, as it is made often.
[[nodiscard]] inline Error answer(int code) { return Error{code, {}}; }
[[nodiscard]] inline Error answer() { return answer(errno); }

/// Where a file can be reached: `name` in `directory`, or the descriptor itself when `name` is empty.
/// The name stays true while the parent's lock is held (Reach).
struct Place {
  FdLease directory;
  const char* name = "";
  BranchIndex branch = 0;

  [[nodiscard]] int fd() const { return directory->get(); }
  [[nodiscard]] int flags() const { return AT_SYMLINK_NOFOLLOW | (*name == '\0' ? AT_EMPTY_PATH : 0); }
};

/// A Place with the lock that keeps it true.
struct Reach {
  std::shared_lock<std::shared_mutex> lock;
  Place place;
  std::unique_ptr<std::string> link;  ///< what place.name points to when the node is reached through its pseudo-link
};

/// What a name in a directory turned out to be.
struct Found {
  BranchIndex branch = 0;
  struct stat status {};
  // Directories: the branches that make it up, and where it does not stand at (parent)/name.
  std::vector<BranchIndex> branches;
  std::vector<std::pair<BranchIndex, std::string>> moved;
  std::vector<BranchIndex> xattr_whiteouts;
  std::string redirect;
  // metacopy: where the data is.
  bool metacopy = false;
  BranchIndex data_branch = 0;
  std::string data_path;
};

/// All there is to know about a name before it is made, removed or replaced.
struct NameState {
  std::optional<Found> found;   ///< what the union shows
  bool upper_whiteout = false;  ///< the writable branch has a whiteout for it
  bool lower = false;           ///< a lower branch would show something under this name
};

struct OpenHandle {
  Node* node = nullptr;
  Fd fd;
  Fd later;  ///< of the copied-up file, for a handle that began on a lower one
  std::atomic<int> current{-1};
  int flags = 0;
  bool upper = false;
  std::mutex lock;
};

struct DirectoryHandle;

/// Gives a hold back at the end of the scope.
class Dropped {
 public:
  Dropped(NodeTable& table, Node* node) : table_(table), node_(node) {}
  ~Dropped() { table_.drop(node_); }
  Dropped(const Dropped&) = delete;
  Dropped& operator=(const Dropped&) = delete;

 private:
  NodeTable& table_;
  Node* node_;
};

class UnionFs final : public FileSystem {
 public:
  UnionFs(const UnionOptions& options, Branches branches);
  ~UnionFs() override;
  [[nodiscard]] Status start();

  Result<Entry> lookup(NodeId parent, std::string_view name) override;
  void forget(NodeId node, std::uint64_t references) override;
  Result<struct stat> attributes(NodeId node, HandleId handle) override;
  Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat& wanted) override;
  Result<std::string> read_link(NodeId node) override;
  Result<Entry> make_node(const Caller& caller, NodeId parent, std::string_view name, mode_t mode,
                          dev_t device) override;
  Result<Entry> make_directory(const Caller& caller, NodeId parent, std::string_view name, mode_t mode) override;
  Result<Entry> make_symlink(const Caller& caller, NodeId parent, std::string_view name,
                             std::string_view target) override;
  Result<Entry> make_link(NodeId node, NodeId parent, std::string_view name) override;
  Status unlink(NodeId parent, std::string_view name) override;
  Status remove_directory(NodeId parent, std::string_view name) override;
  Status rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                unsigned flags) override;
  Result<Created> create(const Caller& caller, NodeId parent, std::string_view name, mode_t mode, int flags) override;
  Result<OpenFile> open(NodeId node, int flags) override;
  Result<std::size_t> read(NodeId node, HandleId handle, std::span<std::byte> into, std::uint64_t offset) override;
  Result<std::size_t> write(NodeId node, HandleId handle, std::span<const std::byte> from,
                            std::uint64_t offset) override;
  void written(NodeId node, HandleId handle) override;
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

  /// For tests: nodes in memory, and bytes of cached directories.
  [[nodiscard]] std::size_t nodes() const { return table_.size(); }
  [[nodiscard]] std::size_t cached_bytes();

 private:
  using SharedTree = std::shared_lock<TreeLock>;
  using DirectoryLock = std::unique_lock<std::shared_mutex>;

  [[nodiscard]] Node& node_of(NodeId id) { return id == kRootNode ? *root_ : *reinterpret_cast<Node*>(id); }
  [[nodiscard]] NodeId id_of(const Node& node) const {
    return &node == root_ ? kRootNode : reinterpret_cast<NodeId>(&node);
  }
  [[nodiscard]] Status check_new_name(std::string_view name) const;

  // union_fs_lookup.cpp
  [[nodiscard]] Result<FdLease> directory_fd(Node& directory, BranchIndex branch);
  [[nodiscard]] Result<FdLease> upper_fd(Node& directory) { return directory_fd(directory, kUpper); }
  [[nodiscard]] Result<Fd> open_below(BranchIndex branch, const std::string& path, int flags) const;
  [[nodiscard]] std::string lower_path(const Node& directory, BranchIndex branch) const;
  /// The path under which the union of the lower branches shows the directory's lower content: what redirects name.
  [[nodiscard]] std::string redirect_path(const Node& directory) const;
  /// What the branches say of `name`, from branches[first] on.
  [[nodiscard]] Result<NameState> probe_locked(Node& directory, const std::string& name, bool want_lower);
  /// Goes on below a directory or metacopy file found at branches[at] that redirects.
  [[nodiscard]] Status follow_redirect(Node& directory, std::size_t at, const std::string& redirect, Found& found);
  struct LayerMarks {
    bool opaque = false;
    bool xattr_whiteouts = false;
    bool metacopy = false;
    std::string redirect;
  };
  [[nodiscard]] Result<LayerMarks> marks_of(int fd, const std::string& name, bool directory);
  /// Fills state.found from branches[first] on; `only`: nothing below the first hit can matter.
  [[nodiscard]] Status walk_layers(Node& directory, const std::string& name, std::size_t first, bool only,
                                   NameState& state);
  [[nodiscard]] Result<bool> lower_has(Node& directory, const std::string& name);
  [[nodiscard]] bool is_whiteout(const Node& directory, BranchIndex branch, int fd, const char* name,
                                 const struct stat& status) const;
  [[nodiscard]] Result<Node*> node_for(Node& parent, std::string_view name, Found&& found);
  [[nodiscard]] Result<Node*> linked_node_for(Node& parent, std::string_view name, Found&& found);
  [[nodiscard]] Result<Node*> plain_node_for(Node& parent, std::string_view name, Found&& found);
  [[nodiscard]] std::uint64_t shown_inode(Node& parent, int fd, const std::string& name, const Found& found);
  [[nodiscard]] bool may_have_origins(Node& directory);
  [[nodiscard]] Result<Entry> entry_of(Node& node, const struct stat& status);
  [[nodiscard]] struct stat shown(Node& node, struct stat status);
  void adopt_name(Node& node, Node& parent, std::string_view name);
  /// The node's known name is this one now. The tree lock is held exclusively.
  void give_name(Node& node, Node& parent, std::string name);
  /// Locks the node's parent and says where the node is.
  [[nodiscard]] Result<Reach> reach(Node& node);
  [[nodiscard]] Result<struct stat> stat_node(Node& node);

  // directory cache (union_fs_directory.cpp)
  /// Reads the directory's index if it has none. The directory's lock is held exclusively.
  [[nodiscard]] Status build_index_locked(Node& directory);
  [[nodiscard]] bool wants_index(const Node& directory) const;
  void account_index_locked(Node& directory);
  void drop_index_locked(Node& directory);
  void note_put_locked(Node& directory, std::string_view name, const Node& child);
  void note_removed_locked(Node& directory, std::string_view name, bool lower);
  [[nodiscard]] Result<bool> is_empty_locked(Node& directory);
  [[nodiscard]] Status read_stream(Node& directory, DirectoryHandle& handle, std::uint64_t cookie,
                                   const TakeEntry& take);
  [[nodiscard]] Status read_merged(Node& directory, DirectoryHandle& handle, std::uint64_t cookie,
                                   const TakeEntry& take);

  // union_fs_copy_up.cpp
  [[nodiscard]] Status ensure_upper(Node& directory);
  enum class CopyUp { data, metadata, truncated };
  /// No lock is held by the caller. `truncate_to`: bytes of data wanted, others are not copied.
  [[nodiscard]] Status copy_up(Node& node, CopyUp what, off_t truncate_to = 0);
  [[nodiscard]] Status copy_up_regular(Node& node, CopyUp what, off_t truncate_to);
  [[nodiscard]] Status copy_up_other(Node& node);
  [[nodiscard]] Status complete_metacopy(Node& node, off_t size);
  struct Source {  ///< what is copied up
    Fd fd;
    struct stat status {};
    BranchIndex branch = 0;
    std::string path;      ///< in its branch; empty: the file has no name any more
    std::string redirect;  ///< in the union of the lower branches
  };
  [[nodiscard]] Result<Source> open_source(Node& node);
  [[nodiscard]] Status set_metacopy(Node& node, const Source& source, const Fd& copy);
  /// Gives the finished copy the node's name and makes it the node's file.
  [[nodiscard]] Status place_copy(Node& node, const Fd& copy, const std::string& made_name, const Source& source);
  [[nodiscard]] Status place_linked_copy_locked(Node& node, const Fd& copy, const std::string& made_name,
                                                const Source& source, ino_t inode);
  [[nodiscard]] Status place_at_name_locked(Node& node, int source, const char* source_name, const Fd* copy,
                                            const std::string& made_name);
  /// A name that only lower branches have becomes a link to the node's copy in the writable branch.
  [[nodiscard]] Status link_up(Node& parent, const std::string& name, Node& node);
  /// Gives all names of pseudo-linked files their links and removes the hidden ones: auplink's "flush".
  void resolve_pseudo_links();
  void set_origin(FileAt source, BranchIndex branch, FileAt copy);
  void mark_impure(Node& directory, int upper);

  // union_fs_make.cpp
  struct Fresh {  ///< a thing about to be made
    mode_t mode = 0;
    dev_t device = 0;
    std::string_view target;
    int open_flags = -1;  ///< >= 0: leave it open with these
  };
  [[nodiscard]] Result<std::pair<Node*, struct stat>> make(const Caller& caller, Node& parent, std::string_view name,
                                                           const Fresh& fresh, Fd* opened);
  [[nodiscard]] Result<struct stat> make_at(const Caller& caller, Node& parent, int parent_fd, int fd,
                                            const char* name, const Fresh& fresh, Fd* opened);
  [[nodiscard]] Result<struct stat> make_over_whiteout(const Caller& caller, Node& parent, int parent_fd,
                                                       const std::string& name, const Fresh& fresh, Fd* opened);
  [[nodiscard]] Known known_set_group_id(Node& parent, int fd);
  [[nodiscard]] Known known_default_acl(Node& parent, int fd);

  // union_fs_remove.cpp
  [[nodiscard]] int put_whiteout(int directory, const std::string& name, bool upper_present);
  [[nodiscard]] Status remove_name(Node& parent, std::string_view name, bool directory);
  [[nodiscard]] Status remove_upper_directory(int parent_fd, const std::string& name, bool lower);
  /// A name of the node is gone; with the last one nothing finds it any more.
  void detach_locked(Node& node, bool last_link);
  /// The same for a file, whose name was in the writable branch (`upper`) or not; `links`: its st_nlink before.
  void name_gone_locked(Node* node, const Found& found, bool upper);
  /// The node of what was found if somebody holds it, held once more.
  [[nodiscard]] Node* known_node(const Found& found);
  void pin(Node& node, int directory, const char* name);

  // union_fs_rename.cpp; those with Side: the tree lock is held exclusively.
  struct Side;
  [[nodiscard]] Status prepare_rename(Node& parent, std::string_view name, bool must_exist);
  [[nodiscard]] Status look_at(Side& side);
  [[nodiscard]] Status check_rename(const Side& from, const Side& to, unsigned flags);
  [[nodiscard]] Status rename_exclusive(Side& from, Side& to, unsigned flags);
  [[nodiscard]] Status mark_moved(Side& side, const Side& target);
  [[nodiscard]] Status clear_target(Side& to);
  [[nodiscard]] Status move_files(Side& from, Side& to, unsigned flags);
  void move_node(Node& node, const Side& from, const Side& to);

  // union_fs_data.cpp
  [[nodiscard]] Status apply_attributes(Place& place, unsigned mask, const struct stat& wanted);
  [[nodiscard]] Result<Fd> open_file_of(Node& node, int flags, bool& upper, ino_t& key);
  [[nodiscard]] OpenFile handle_for(Node& node, Fd fd, int flags, bool upper, std::uint64_t inode);
  [[nodiscard]] int data_fd(Node& node, OpenHandle& handle);

  UnionOptions options_;
  Dialect dialect_;
  Branches branches_;
  WorkArea work_;
  PseudoLinks pseudo_links_;
  FdCache fds_;
  NodeTable table_;
  Node* root_ = nullptr;
  TreeLock tree_;
  std::atomic<std::size_t> pins_{0};
  std::atomic<std::uint32_t> generations_{1};

  std::mutex cache_lock_;
  std::list<Node*> cached_;  // directories with an index, oldest first
  std::size_t cached_bytes_ = 0;
};

}  // namespace sbench::union_fs
