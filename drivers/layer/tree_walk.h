// tree_walk.h: visiting every file of a tree with a bounded number of descriptors.
//
// A directory's entries are visited in byte order of their names, then its
// subdirectories are entered one after another: a directory always comes before
// what it holds. Directories are opened anew by their path from the root, so
// depth costs no descriptors; a path longer than PATH_MAX is ENAMETOOLONG.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench {

struct ListedFile {
  std::string name;
  struct stat status {};
};

/// Opens the directory `path` ("." for the root itself) below `root_fd`, never through a link.
[[nodiscard]] Result<Fd> open_directory(int root_fd, const std::string& path);

/// What the directory holds, sorted by name, without "." and "..". `shown` names it in errors.
[[nodiscard]] Result<std::vector<ListedFile>> list_directory(int directory_fd, const std::string& shown);

/// "name" below ".", "path/name" below any other.
[[nodiscard]] std::string join_path(const std::string& path, std::string_view name);

/// Nanoseconds since the epoch; times beyond the year 2262 are cut to what 64 bits hold.
[[nodiscard]] std::int64_t nanoseconds(const timespec& time);

/// One visited file. `directory_fd` and `name` reach it; both live as long as the visit.
struct Visited {
  const std::string& path;  ///< from the root, "." for the root itself
  int directory_fd;
  const std::string& name;  ///< "." for the root itself
  const struct stat& status;

  [[nodiscard]] bool is_directory() const { return S_ISDIR(status.st_mode); }
};

enum class WalkStep { enter, skip };  ///< skip: what this directory holds is not visited

/// Called with each file, the root first. The answer matters for directories only.
using Visitor = std::function<Result<WalkStep>(const Visited&)>;

/// Walks `root` without following links and without entering mounts below it.
[[nodiscard]] Status walk_tree(const std::filesystem::path& root, const Visitor& visit);
/// The same below an open directory. `shown` names it in errors.
[[nodiscard]] Status walk_tree_at(int root_fd, const std::string& shown, const Visitor& visit);

}  // namespace sbench
