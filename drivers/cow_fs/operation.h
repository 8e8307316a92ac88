// operation.h: a change of a dataset's tree as a value: what is done, what the intent log holds, what replay does again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "drivers/base/result.h"
#include "drivers/cow_fs/format.h"

namespace sbench::cow_fs {

enum class OperationKind : std::uint8_t {
  make = 1,       ///< name in node: mode, device; data: a symlink's target
  link,           ///< node gets the name in other
  unlink,         ///< name in node; flags 1: the file stays as an orphan
  remove_directory,
  rename,         ///< name in node to data in other; flags as renameat2(2)'s; keep: a replaced file stays as an orphan
  set_attributes, ///< mask of AttributeMask bits in flags
  write,          ///< data at offset of node
  allocate,       ///< flags: fallocate(2)'s mode
  set_xattr,      ///< name, data; flags as setxattr(2)'s
  remove_xattr,
};

/// Numbers first, as they stand in the log; then the two texts.
struct OperationNumbers {
  OperationKind kind = OperationKind::make;
  std::uint8_t keep = 0;
  std::uint16_t unused = 0;
  std::uint32_t flags = 0;
  std::uint64_t dataset = 0;
  std::uint64_t node = 0;
  std::uint64_t other = 0;
  std::uint64_t offset = 0;  ///< set_attributes: the size
  std::uint64_t length = 0;
  std::uint64_t device = 0;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t umask = 0;
  Time now;
  std::uint64_t next_object = 0;  ///< of the dataset, before: replay gives the same numbers
  Time accessed, modified;  ///< set_attributes
  std::uint32_t name_bytes = 0;
  std::uint32_t data_bytes = 0;
};

struct Operation : OperationNumbers {
  std::string name;
  std::string_view data;  ///< the caller's
};

/// Appends the operation's bytes.
void pack(const Operation& operation, std::string& to);
/// Takes one operation from the front of `from`; its data points into it. EUCLEAN when there is no whole one.
[[nodiscard]] Result<Operation> unpack(std::string_view& from);

}  // namespace sbench::cow_fs
