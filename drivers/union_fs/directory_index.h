// directory_index.h: the merged content of one directory: every name, which branch shows it, and in which order.
//
// Answers lookups (also "no such name") without a system call, and directory
// reads with cookies that stay valid while names come and go: a name keeps its
// position for life, new names go to the end. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sbench::union_fs {

class DirectoryIndex {
 public:
  struct Entry {
    std::uint64_t inode = 0;  ///< as shown
    std::uint32_t name_offset = 0;
    std::uint16_t name_size = 0;
    std::uint16_t branch = 0;
    unsigned char type = 0;   ///< DT_*
    bool live = false;        ///< false: deleted, its position stays unused
    bool whiteout = false;    ///< hidden by `branch`
    bool also_lower = false;  ///< a branch below `branch` has the name too
  };

  DirectoryIndex();

  [[nodiscard]] const Entry* find(std::string_view name) const;
  [[nodiscard]] Entry* find(std::string_view name);
  /// Adds a name that is not there.
  Entry& add(std::string_view name, std::uint16_t branch, unsigned char type, std::uint64_t inode);
  /// Adds a name that `branch` hides from those below it.
  void add_whiteout(std::string_view name, std::uint16_t branch);
  /// The name now stands in the writable branch (branch 0): replaces what there was.
  void put_upper(std::string_view name, unsigned char type, std::uint64_t inode);
  /// The name is gone from the union; `lower`: a lower branch still has it, hidden by a whiteout.
  void remove(std::string_view name, bool lower);

  [[nodiscard]] std::string_view name(const Entry& entry) const {
    return {names_.data() + entry.name_offset, entry.name_size};
  }
  /// Positions 0 … size()-1, dead ones and whiteouts included.
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] const Entry& at(std::size_t position) const { return entries_[position]; }
  /// Names that are visible.
  [[nodiscard]] std::size_t visible() const { return visible_; }
  [[nodiscard]] std::size_t bytes() const;
  /// So many dead positions that starting anew is better.
  [[nodiscard]] bool worn() const { return entries_.size() > 4096 + 4 * visible_; }

 private:
  [[nodiscard]] std::size_t slot_of(std::string_view name) const;
  void grow();

  std::vector<Entry> entries_;
  std::string names_;
  std::vector<std::uint32_t> slots_;  // open addressing: position + 1, 0 is empty
  std::size_t visible_ = 0;
};

}  // namespace sbench::union_fs
