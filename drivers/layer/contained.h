// contained.h: opening directories below a root so that no link leads outside it.
//
// Links are followed as a container would: an absolute target starts at the
// root, ".." stops at it. The kernel does that (openat2, RESOLVE_IN_ROOT);
// where it has no openat2, every component is opened and looked at in turn.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench {

/// The path that the tar name `name` means below the root: "." or "a/b", without "." and ".." in it.
/// Leading slashes mean the root. EINVAL for an empty name or one that climbs above the root,
/// ENAMETOOLONG beyond PATH_MAX.
[[nodiscard]] Result<std::string> contained_path(std::string_view name);

class ContainedRoot {
 public:
  enum class Resolver { kernel, walk };

  /// Takes the kernel's resolver and changes over to the other when there is none.
  [[nodiscard]] static Result<ContainedRoot> open(const std::filesystem::path& root,
                                                  Resolver resolver = Resolver::kernel);

  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Opens the directory at `path`, as contained_path() gives it. ENOENT, ENOTDIR or ELOOP when it leads to none.
  [[nodiscard]] Result<Fd> open_directory(const std::string& path);

 private:
  ContainedRoot(Fd fd, Resolver resolver) : fd_(std::move(fd)), resolver_(resolver) {}
  [[nodiscard]] Result<Fd> open_by_walking(const std::string& path) const;

  Fd fd_;
  Resolver resolver_;
};

}  // namespace sbench
