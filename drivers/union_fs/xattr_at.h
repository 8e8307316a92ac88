// xattr_at.h: extended attributes of `name` in a directory's descriptor (or of the descriptor's file itself).
//
// Made for the hot paths: no allocation but for values. Nothing follows a
// symbolic link. Calls return 0 or an errno.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace sbench::union_fs {

/// The file in calls that take only paths. With an empty name it is a link to the file, to be followed.
class ProcPath {
 public:
  ProcPath(int fd, std::string_view name);
  [[nodiscard]] const char* c_str() const { return text_; }
  [[nodiscard]] bool follow() const { return follow_; }

 private:
  char text_[32 + 256];
  bool follow_;
};

int get_xattr(int fd, std::string_view name, const char* attribute, std::string& value);
int set_xattr(int fd, std::string_view name, const char* attribute, std::string_view value, int flags = 0);
int remove_xattr(int fd, std::string_view name, const char* attribute);
/// Names, each ended by a zero byte.
int list_xattrs(int fd, std::string_view name, std::string& names);

/// Calls `take(const char* attribute)` for each name in `names`.
template <typename Take>
void for_each_name(const std::string& names, Take take) {
  for (std::size_t at = 0; at < names.size(); at += std::string_view(names.c_str() + at).size() + 1) {
    take(names.c_str() + at);
  }
}

}  // namespace sbench::union_fs
