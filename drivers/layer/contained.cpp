#include "drivers/layer/contained.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <vector>

#include "drivers/base/file.h"

namespace sbench {
namespace {

constexpr int kLinksMax = 40;            ///< as the kernel's MAXSYMLINKS
constexpr std::size_t kDepthMax = 2048;  ///< no path of PATH_MAX bytes is deeper
constexpr int kOpenFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

/// The components of `path` in reverse order: the next one to visit is the last.
void push_components(std::string_view path, std::vector<std::string>& components) {
  while (!path.empty()) {
    const auto slash = path.rfind('/');
    const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
    if (!name.empty() && name != ".") {
      components.emplace_back(name);
    }
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  }
}

}  // namespace

Result<std::string> contained_path(std::string_view name) {
  if (name.empty()) {
    return plain_error(EINVAL, "layer tar: an entry has an empty name");
  }
  std::vector<std::string_view> kept;
  std::string_view rest = name;
  while (!rest.empty()) {
    const auto slash = std::min(rest.find('/'), rest.size());
    const std::string_view component = rest.substr(0, slash);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    if (component == "..") {
      if (kept.empty()) {
        return plain_error(EINVAL, "layer tar: the name {} leads out of the layer", shown(name));
      }
      kept.pop_back();
    } else if (!component.empty() && component != ".") {
      kept.push_back(component);
    }
  }
  std::string path;
  for (const auto& component : kept) {
    path.append(path.empty() ? "" : "/").append(component);
  }
  if (path.size() >= PATH_MAX) {
    return make_error(ENAMETOOLONG, "layer tar: cannot unpack {}…", shown(path));
  }
  return path.empty() ? "." : path;
}

Result<ContainedRoot> ContainedRoot::open(const std::filesystem::path& root, Resolver resolver) {
  SBENCH_TRY_SET(Fd fd, open_file(root, O_RDONLY | O_DIRECTORY));
  return ContainedRoot(std::move(fd), resolver);
}

Result<Fd> ContainedRoot::open_directory(const std::string& path) {
  while (resolver_ == Resolver::kernel) {
    open_how how{};
    how.flags = kOpenFlags;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    Fd fd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), path.c_str(), &how, sizeof how)));
    if (fd.valid()) {
      return fd;
    }
    if (errno == ENOSYS || errno == EPERM) {  // EPERM: a seccomp filter that does not know it
      resolver_ = Resolver::walk;
    } else if (errno != EAGAIN && errno != EINTR) {  // EAGAIN: something was renamed meanwhile
      return errno_error("cannot open the directory {}", path);
    }
  }
  return open_by_walking(path);
}

Result<Fd> ContainedRoot::open_by_walking(const std::string& path) const {
  std::vector<std::string> components;
  push_components(path, components);
  std::vector<Fd> stack;  // from the root (not in it) down to where the walk is
  int links = 0;
  while (!components.empty()) {
    const std::string name = std::move(components.back());
    components.pop_back();
    if (name == "..") {
      if (!stack.empty()) {
        stack.pop_back();
      }
      continue;
    }
    const int here = stack.empty() ? fd_.get() : stack.back().get();
    Fd next(::openat(here, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!next.valid() || ::fstat(next.get(), &status) != 0) {
      return errno_error("cannot open {} in the directory {}", name, path);
    }
    if (S_ISDIR(status.st_mode) && stack.size() < kDepthMax) {
      stack.push_back(std::move(next));
      continue;
    }
    if (!S_ISLNK(status.st_mode)) {
      return make_error(S_ISDIR(status.st_mode) ? ENAMETOOLONG : ENOTDIR, "cannot open the directory {}", path);
    }
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlinkat(next.get(), "", target.data(), target.size());
    if (size < 0) {
      return errno_error("cannot read the link {} in {}", name, path);
    }
    if (++links > kLinksMax) {
      return make_error(ELOOP, "cannot open the directory {}", path);
    }
    const std::string_view text(target.data(), static_cast<std::size_t>(size));
    if (text.starts_with('/')) {
      stack.clear();
    }
    push_components(text, components);
  }
  Fd fd(::openat(stack.empty() ? fd_.get() : stack.back().get(), ".", kOpenFlags));
  if (!fd.valid()) {
    return errno_error("cannot open the directory {}", path);
  }
  return fd;
}

}  // namespace sbench
