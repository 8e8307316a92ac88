// tar_reader.h: the entries of a layer tar (ustar, pax, GNU; uncompressed), through libarchive.
//
// Whatever is wrong with the bytes is an EINVAL that names the entry. Names are
// as the tar has them: containing them is the business of contained.h.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/xattr.h"

namespace sbench {

struct ReadEntry {
  std::string name;
  mode_t mode = 0;  ///< type and permission bits; 0 for a hard link
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t size_bytes = 0;  ///< regular files only
  timespec mtime{};
  dev_t device_number = 0;
  std::string link_target;                      ///< symbolic links
  std::optional<std::string> hard_link_target;  ///< set: the entry is another name of that file
  Xattrs xattrs;                                ///< without unlayered ones (xattr.h)
};

/// A run of a file's content. What no run covers is a hole.
struct DataRun {
  std::span<const std::byte> data;  ///< valid until the next call
  std::uint64_t offset = 0;
};

class TarReader {
 public:
  explicit TarReader(ByteSource& source);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  /// The next entry, valid until the next call; null at the end.
  [[nodiscard]] Result<const ReadEntry*> next();
  /// The next run of the current regular file's content; nothing at its end.
  [[nodiscard]] Result<std::optional<DataRun>> next_data();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sbench
