#include "drivers/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

namespace sbench {

namespace fs = std::filesystem;

Result<Fd> open_file(const fs::path& path, int flags, unsigned mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) {
    return errno_error("cannot open {}", path.string());
  }
  return fd;
}

Result<std::string> read_text(const fs::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY));
  std::string text;
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count == 0) {
      return text;
    }
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno_error("cannot read {}", path.string());
    }
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

std::string read_trimmed(const fs::path& path, std::string_view fallback) {
  auto text = read_text(path);
  if (!text.ok()) {
    return std::string(fallback);
  }
  const auto end = text->find_last_not_of(" \t\r\n\0");
  return end == std::string::npos ? std::string(fallback) : text->substr(0, end + 1);
}

Status write_all(int fd, std::string_view data, std::string_view what) {
  while (!data.empty()) {
    const ssize_t count = ::write(fd, data.data(), data.size());
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno_error("cannot write {}", what);
    }
    data.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Status write_text_atomic(const fs::path& path, std::string_view text) {
  const fs::path temporary = path.string() + ".tmp";
  SBENCH_TRY_SET(Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC));
  SBENCH_TRY(write_all(fd.get(), text, temporary.string()));
  if (::fsync(fd.get()) != 0) {
    return errno_error("cannot sync {}", temporary.string());
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return errno_error("cannot rename {} to {}", temporary.string(), path.string());
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  SBENCH_TRY_SET(Fd directory, open_file(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) {
    return errno_error("cannot sync {}", folder.string());
  }
  return {};
}

Status make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  std::error_code unknown;
  if (error && !fs::is_directory(path, unknown)) {
    return make_error(error.value(), "cannot make the directory {}", path.string());
  }
  return {};
}

Result<fs::path> make_unique_directory(const fs::path& prefix) {
  std::string name = prefix.string() + "XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    return errno_error("cannot make a directory {}", name);
  }
  return fs::path(name);
}

namespace {

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// Removes everything below the directory `name` of `parent_fd`, then the directory.
Status remove_directory_at(int parent_fd, const std::string& name, dev_t device, const std::string& shown) {
  Fd fd(::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot open {}", shown);
  }
  const int raw_fd = fd.get();
  std::unique_ptr<DIR, DirCloser> dir(::fdopendir(fd.release()));
  if (dir == nullptr) {
    return errno_error("cannot list {}", shown);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view entry_name = entry->d_name;
    if (entry_name != "." && entry_name != "..") {
      names.emplace_back(entry_name);
    }
  }
  for (const auto& child : names) {
    if (::unlinkat(raw_fd, child.c_str(), 0) == 0) {
      continue;
    }
    if (errno != EISDIR && errno != EPERM) {
      return errno_error("cannot remove {}/{}", shown, child);
    }
    struct stat status {};
    if (::fstatat(raw_fd, child.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot inspect {}/{}", shown, child);
    }
    if (status.st_dev != device) {
      return plain_error(EBUSY, "cannot remove {}/{}: something is mounted there", shown, child);
    }
    SBENCH_TRY(remove_directory_at(raw_fd, child, device, fmt::format("{}/{}", shown, child)));
  }
  dir.reset();
  if (::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR) != 0) {
    return errno_error("cannot remove {}", shown);
  }
  return {};
}

}  // namespace

Status remove_tree_at(int parent_fd, const std::string& name, const std::string& shown) {
  struct stat status {};
  if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Status() : Status(errno_error("cannot inspect {}", shown));
  }
  if (!S_ISDIR(status.st_mode)) {
    return ::unlinkat(parent_fd, name.c_str(), 0) == 0 ? Status() : Status(errno_error("cannot remove {}", shown));
  }
  return remove_directory_at(parent_fd, name, status.st_dev, shown);
}

Status remove_tree(const fs::path& path) { return remove_tree_at(AT_FDCWD, path.string(), path.string()); }

}  // namespace sbench
