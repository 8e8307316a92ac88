// branches.h: the directories a union is made of, and which file systems they lie on.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/union_fs/node.h"

namespace sbench::union_fs {

struct Branch {
  FdLease root;  ///< O_RDONLY; none for branch 0 of a read-only union
  std::uint16_t file_system = 0;
};

struct BackingFileSystem {
  dev_t device = 0;
  std::optional<std::array<std::uint8_t, 16>> uuid;
};

class Branches {
 public:
  [[nodiscard]] static Result<Branches> open(const std::optional<std::filesystem::path>& upper,
                                             const std::vector<std::filesystem::path>& lower);

  [[nodiscard]] std::size_t size() const { return branches_.size(); }
  [[nodiscard]] const Branch& operator[](BranchIndex index) const { return branches_[index]; }
  [[nodiscard]] bool has_upper() const { return branches_[kUpper].root != nullptr; }
  [[nodiscard]] const BackingFileSystem& file_system_of(BranchIndex index) const {
    return file_systems_[branches_[index].file_system];
  }
  [[nodiscard]] Key key(BranchIndex index, ino_t inode) const { return {inode, branches_[index].file_system}; }

  /// The st_ino a file of the branch is shown with: its own on the first file system (the upper's);
  /// the others' get their file system's number in the upper bits.
  [[nodiscard]] std::uint64_t shown(BranchIndex index, ino_t inode) const {
    return inode ^ (std::uint64_t{branches_[index].file_system} << 54);
  }

 private:
  std::vector<Branch> branches_;
  std::vector<BackingFileSystem> file_systems_;
};

}  // namespace sbench::union_fs
