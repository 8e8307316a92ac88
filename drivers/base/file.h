// file.h: small whole-file helpers with errors that name the path.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench {

/// open(2) with O_CLOEXEC added.
[[nodiscard]] Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0644);

/// The whole content; meant for small files such as those of /proc and /sys.
[[nodiscard]] Result<std::string> read_text(const std::filesystem::path& path);

/// read_text without trailing white space; `fallback` when it cannot be read.
[[nodiscard]] std::string read_trimmed(const std::filesystem::path& path, std::string_view fallback = {});

/// Writes all of `data` to `fd` (pwrite loops, EINTR, short writes).
[[nodiscard]] Status write_all(int fd, std::string_view data, std::string_view what);

/// Replaces `path` by a file with this content: temporary file, fsync, rename, fsync of the folder.
[[nodiscard]] Status write_text_atomic(const std::filesystem::path& path, std::string_view text);

/// mkdir -p; an existing directory is fine.
[[nodiscard]] Status make_directories(const std::filesystem::path& path);

/// Makes a directory that only its owner may enter, of a name nobody has: `prefix` and six more characters.
[[nodiscard]] Result<std::filesystem::path> make_unique_directory(const std::filesystem::path& prefix);

/// Deletes a tree (never crosses into another file system); nothing there is fine.
[[nodiscard]] Status remove_tree(const std::filesystem::path& path);
/// The same for the entry `name` below `parent_fd`; `shown` names it in errors.
[[nodiscard]] Status remove_tree_at(int parent_fd, const std::string& name, const std::string& shown);

}  // namespace sbench
