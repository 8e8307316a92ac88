// directory_metadata.h: what unpacking must leave to its end: the metadata of directories.
//
// Filling a directory changes its time, a mode without write permission or an
// inherited ACL would get in the way of filling it. So all of it is kept here,
// by inode: a directory that was replaced meanwhile is left alone.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/tar_reader.h"

namespace sbench {

class DirectoryMetadata {
 public:
  /// Remembers that the directory `path`, now `status`, shall look like `entry` (the last call wins).
  void add(const std::string& path, const struct stat& status, const ReadEntry& entry);

  /// Gives every remembered directory its attributes, owner, mode and time, deepest first.
  [[nodiscard]] Status apply(ContainedRoot& root) const;

 private:
  struct Metadata {
    std::string path;
    ReadEntry entry;
  };
  std::map<std::pair<dev_t, ino_t>, Metadata> directories_;
};

}  // namespace sbench
