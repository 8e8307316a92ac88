#include "drivers/layer/tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "drivers/base/file.h"

namespace sbench {
namespace {

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// The names of a directory in byte order.
Result<std::vector<ListedFile>> list_names(int directory_fd, const std::string& shown) {
  const int own_fd = ::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own_fd < 0) {
    return errno_error("cannot open {}", shown);
  }
  std::unique_ptr<DIR, DirCloser> dir(::fdopendir(own_fd));
  if (dir == nullptr) {
    Error error = errno_error("cannot list {}", shown);
    ::close(own_fd);
    return error;
  }
  std::vector<ListedFile> files;
  for (errno = 0; const dirent* entry = ::readdir(dir.get()); errno = 0) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      files.push_back({entry->d_name, {}});
    }
  }
  if (errno != 0) {
    return errno_error("cannot list {}", shown);
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return files;
}

class Walker {
 public:
  Walker(int root_fd, const Visitor& visit) : root_fd_(root_fd), visit_(visit) {}

  Status walk(const std::string& shown) {
    static const std::string dot = ".";
    struct stat status {};
    if (::fstat(root_fd_, &status) != 0) {
      return errno_error("cannot inspect {}", shown);
    }
    device_ = status.st_dev;
    SBENCH_TRY_SET(const WalkStep step, visit_(Visited{dot, root_fd_, dot, status}));
    pending_.clear();
    if (step == WalkStep::enter) {
      pending_.push_back(dot);
    }
    while (!pending_.empty()) {
      const std::string path = std::move(pending_.back());
      pending_.pop_back();
      SBENCH_TRY(visit_children(path));
    }
    return {};
  }

 private:
  Status visit_children(const std::string& path) {
    SBENCH_TRY_SET(const Fd fd, open_directory(root_fd_, path));
    SBENCH_TRY_SET(const auto files, list_directory(fd.get(), path));
    const std::size_t first = pending_.size();
    for (const auto& file : files) {
      std::string child = join_path(path, file.name);
      SBENCH_TRY_SET(const WalkStep step, visit_(Visited{child, fd.get(), file.name, file.status}));
      if (S_ISDIR(file.status.st_mode) && step == WalkStep::enter && file.status.st_dev == device_) {
        pending_.push_back(std::move(child));
      }
    }
    std::reverse(pending_.begin() + static_cast<std::ptrdiff_t>(first), pending_.end());
    return {};
  }

  int root_fd_;
  const Visitor& visit_;
  dev_t device_ = 0;
  std::vector<std::string> pending_;  ///< directories still to enter, the next one last
};

}  // namespace

Result<Fd> open_directory(int root_fd, const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  open_how how{};
  how.flags = kFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;  // no part of the path is a link, whoever exchanges them meanwhile
  Fd fd(static_cast<int>(::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how)));
  if (!fd.valid() && (errno == ENOSYS || errno == EPERM || errno == EAGAIN)) {  // no such call, a seccomp filter, something was renamed
    Fd above;
    for (std::size_t start = 0; start <= path.size() && (start == 0 || above.valid());) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      const std::string part = path.substr(start, end - start);
      above = Fd(::openat(above.valid() ? above.get() : root_fd, part.c_str(), kFlags));
      start = end + 1;
    }
    fd = std::move(above);
  }
  if (!fd.valid()) {
    return errno_error("cannot open the directory {}", path);
  }
  return fd;
}

Result<std::vector<ListedFile>> list_directory(int directory_fd, const std::string& shown) {
  SBENCH_TRY_SET(auto files, list_names(directory_fd, shown));
  for (auto& file : files) {
    if (::fstatat(directory_fd, file.name.c_str(), &file.status, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot inspect {}", join_path(shown, file.name));
    }
  }
  return files;
}

std::string join_path(const std::string& path, std::string_view name) {
  if (path == ".") {
    return std::string(name);
  }
  std::string joined;
  joined.reserve(path.size() + 1 + name.size());
  joined.append(path).append("/").append(name);
  return joined;
}

std::int64_t nanoseconds(const timespec& time) {
  std::int64_t result = 0;
  if (__builtin_mul_overflow(static_cast<std::int64_t>(time.tv_sec), std::int64_t{1'000'000'000}, &result) ||
      __builtin_add_overflow(result, static_cast<std::int64_t>(time.tv_nsec), &result)) {
    return time.tv_sec < 0 ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
  }
  return result;
}

Status walk_tree(const std::filesystem::path& root, const Visitor& visit) {
  SBENCH_TRY_SET(const Fd fd, open_file(root, O_RDONLY | O_DIRECTORY));
  return walk_tree_at(fd.get(), root.string(), visit);
}

Status walk_tree_at(int root_fd, const std::string& shown, const Visitor& visit) {
  return Walker(root_fd, visit).walk(shown);
}

}  // namespace sbench
