// union_test.h: a union in a temporary folder, and path-based calls on any FileSystem.
#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/base/file_system.h"
#include "drivers/union_fs/union_fs.h"
#include "tests/support/support.h"

namespace sbench::testing {

/// Calls by path on a FileSystem, errno results (0: done). Gives every reference back.
class PathCalls {
 public:
  explicit PathCalls(FileSystem& file_system, Caller caller = {0, 0, 0, 0}) : fs_(file_system), caller_(caller) {}

  /// A node with a reference, released at the end of the scope.
  class Held {
   public:
    Held() = default;
    Held(FileSystem* fs, Entry entry) : fs_(fs), entry_(entry) {}
    Held(Held&& other) noexcept : fs_(std::exchange(other.fs_, nullptr)), entry_(other.entry_) {}
    Held& operator=(Held&& other) noexcept {
      reset();
      fs_ = std::exchange(other.fs_, nullptr);
      entry_ = other.entry_;
      return *this;
    }
    ~Held() { reset(); }
    [[nodiscard]] NodeId node() const { return entry_.node; }
    [[nodiscard]] const struct stat& status() const { return entry_.attributes; }

   private:
    void reset() {
      if (fs_ != nullptr && entry_.node != kRootNode) {
        fs_->forget(entry_.node, 1);
      }
      fs_ = nullptr;
    }
    FileSystem* fs_ = nullptr;
    Entry entry_;
  };

  /// Links are not followed.
  int walk(std::string_view path, Held& out) {
    Entry root;
    root.node = kRootNode;
    auto attributes = fs_.attributes(kRootNode, 0);
    if (attributes.ok()) {
      root.attributes = attributes.value();
    }
    Held at(&fs_, root);
    while (!path.empty()) {
      const auto slash = path.find('/');
      const std::string_view name = path.substr(0, slash);
      path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
      if (name.empty()) {
        continue;
      }
      auto entry = fs_.lookup(at.node(), name);
      if (!entry.ok()) {
        return entry.error().code;
      }
      at = Held(&fs_, entry.value());
    }
    out = std::move(at);
    return 0;
  }
  static std::pair<std::string, std::string> split(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? std::pair(std::string(), path)
                                      : std::pair(path.substr(0, slash), path.substr(slash + 1));
  }

  int stat(const std::string& path, struct stat& status) {
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    auto attributes = fs_.attributes(node.node(), 0);
    if (!attributes.ok()) {
      return attributes.error().code;
    }
    status = attributes.value();
    return 0;
  }
  bool exists(const std::string& path) {
    Held node;
    return walk(path, node) == 0;
  }
  int mkdir(const std::string& path, mode_t mode = 0755) {
    return in_parent(path, [&](NodeId parent, const std::string& name) {
      return done(fs_.make_directory(caller_, parent, name, mode));
    });
  }
  int symlink(const std::string& target, const std::string& path) {
    return in_parent(path, [&](NodeId parent, const std::string& name) {
      return done(fs_.make_symlink(caller_, parent, name, target));
    });
  }
  int mknod(const std::string& path, mode_t mode, dev_t device = 0) {
    return in_parent(path, [&](NodeId parent, const std::string& name) {
      return done(fs_.make_node(caller_, parent, name, mode, device));
    });
  }
  int link(const std::string& existing, const std::string& path) {
    Held node;
    if (const int code = walk(existing, node); code != 0) {
      return code;
    }
    return in_parent(path, [&](NodeId parent, const std::string& name) {
      return done(fs_.make_link(node.node(), parent, name));
    });
  }
  int unlink(const std::string& path) {
    return in_parent(path, [&](NodeId parent, const std::string& name) { return code_of(fs_.unlink(parent, name)); });
  }
  int rmdir(const std::string& path) {
    return in_parent(path,
                     [&](NodeId parent, const std::string& name) { return code_of(fs_.remove_directory(parent, name)); });
  }
  int rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    return in_parent(from, [&](NodeId parent, const std::string& name) {
      return in_parent(to, [&](NodeId new_parent, const std::string& new_name) {
        return code_of(fs_.rename(parent, name, new_parent, new_name, flags));
      });
    });
  }
  /// Makes the file or replaces its content from `offset` on.
  int write(const std::string& path, std::string_view data, std::uint64_t offset = 0, int flags = O_CREAT | O_TRUNC,
            mode_t mode = 0644) {
    Held node;
    const int code = walk(path, node);
    if (code == ENOENT && (flags & O_CREAT) != 0) {
      return in_parent(path, [&](NodeId parent, const std::string& name) {
        auto made = fs_.create(caller_, parent, name, mode, O_RDWR);
        if (!made.ok()) {
          return made.error().code;
        }
        const Held held(&fs_, made.value().entry);
        return write_to(held.node(), made.value().file.handle, data, offset);
      });
    }
    if (code != 0) {
      return code;
    }
    auto file = fs_.open(node.node(), O_WRONLY | (flags & O_TRUNC));
    if (!file.ok()) {
      return file.error().code;
    }
    return write_to(node.node(), file.value().handle, data, offset);
  }
  int read(const std::string& path, std::string& data) {
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    auto file = fs_.open(node.node(), O_RDONLY);
    if (!file.ok()) {
      return file.error().code;
    }
    auto attributes = fs_.attributes(node.node(), file.value().handle);
    data.resize(attributes.ok() ? static_cast<std::size_t>(attributes.value().st_size) : 0);
    auto count = fs_.read(node.node(), file.value().handle, std::as_writable_bytes(std::span(data)), 0);
    fs_.release(node.node(), file.value().handle);
    if (!count.ok()) {
      return count.error().code;
    }
    data.resize(count.value());
    return 0;
  }
  std::string content(const std::string& path) {
    std::string data;
    const int code = read(path, data);
    return code == 0 ? data : fmt::format("<error {}>", code);
  }
  int set(const std::string& path, unsigned mask, const struct stat& wanted) {
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    return code_of(fs_.set_attributes(node.node(), 0, mask, wanted));
  }
  int chmod(const std::string& path, mode_t mode) {
    struct stat wanted {};
    wanted.st_mode = mode;
    return set(path, static_cast<unsigned>(AttributeMask::mode), wanted);
  }
  int chown(const std::string& path, uid_t uid, gid_t gid) {
    struct stat wanted {};
    wanted.st_uid = uid;
    wanted.st_gid = gid;
    return set(path, static_cast<unsigned>(AttributeMask::uid) | static_cast<unsigned>(AttributeMask::gid), wanted);
  }
  int truncate(const std::string& path, off_t size) {
    struct stat wanted {};
    wanted.st_size = size;
    return set(path, static_cast<unsigned>(AttributeMask::size), wanted);
  }
  int set_mtime(const std::string& path, std::int64_t seconds) {
    struct stat wanted {};
    wanted.st_mtim = {seconds, 500};
    return set(path, static_cast<unsigned>(AttributeMask::mtime), wanted);
  }
  int set_xattr(const std::string& path, const char* name, std::string_view value, int flags = 0) {
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    return code_of(fs_.set_xattr(node.node(), name, value, flags));
  }
  int remove_xattr(const std::string& path, const char* name) {
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    return code_of(fs_.remove_xattr(node.node(), name));
  }
  /// Names without "." and "..", in the order read.
  int list(const std::string& path, std::vector<std::string>& names) {
    names.clear();
    Held node;
    if (const int code = walk(path, node); code != 0) {
      return code;
    }
    auto handle = fs_.open_directory(node.node());
    if (!handle.ok()) {
      return handle.error().code;
    }
    const Status status = fs_.read_directory(node.node(), handle.value(), 0, [&](const DirectoryEntry& entry) {
      if (entry.name != "." && entry.name != "..") {
        names.emplace_back(entry.name);
      }
      return true;
    });
    fs_.release_directory(node.node(), handle.value());
    return status.ok() ? 0 : status.error().code;
  }
  std::set<std::string> names(const std::string& path) {
    std::vector<std::string> all;
    EXPECT_EQ(list(path, all), 0) << path;
    std::set<std::string> unique(all.begin(), all.end());
    EXPECT_EQ(unique.size(), all.size()) << "a name twice in " << path;
    return unique;
  }

  template <typename T>
  static int code_of(const Result<T>& result) {
    return result.ok() ? 0 : result.error().code;
  }

 private:
  template <typename Call>
  int in_parent(const std::string& path, Call call) {
    const auto [directory, name] = split(path);
    Held parent;
    if (const int code = walk(directory, parent); code != 0) {
      return code;
    }
    return call(parent.node(), name);
  }
  int done(const Result<Entry>& entry) {
    if (!entry.ok()) {
      return entry.error().code;
    }
    fs_.forget(entry.value().node, 1);
    return 0;
  }
  int write_to(NodeId node, HandleId handle, std::string_view data, std::uint64_t offset) {
    auto count = fs_.write(node, handle, std::as_bytes(std::span(data)), offset);
    fs_.release(node, handle);
    return count.ok() ? 0 : count.error().code;
  }

  FileSystem& fs_;
  Caller caller_;
};

/// What a tree looks like, one line a path: what the union shows and what a plain directory holds compare equal.
[[nodiscard]] std::map<std::string, std::string> describe(FileSystem& file_system);
[[nodiscard]] std::map<std::string, std::string> describe(const std::filesystem::path& root);
void expect_same(const std::map<std::string, std::string>& expected, const std::map<std::string, std::string>& actual,
                 const std::string& what);

/// Files, folders and marks of a branch, made by hand.
void put_file(const std::filesystem::path& path, std::string_view content, mode_t mode = 0644);

/// Branches in a temporary folder: lower1 (nearest) … lowerN, upper, work.
class UnionFolder {
 public:
  explicit UnionFolder(std::size_t lowers = 2);
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  [[nodiscard]] std::filesystem::path lower(std::size_t number) const { return path(fmt::format("lower{}", number)); }
  [[nodiscard]] std::filesystem::path upper() const { return path("upper"); }
  /// Options for all branches; change what the test is about.
  [[nodiscard]] UnionOptions options(UnionDialect dialect) const;
  /// Opens the union anew (a remount).
  FileSystem& open(const UnionOptions& options);
  void close() { union_.reset(); }
  FileSystem& operator*() { return *union_; }

 private:
  TemporaryFolder folder_;
  std::size_t lowers_;
  std::unique_ptr<FileSystem> union_;
};

/// Both dialects.
class BothDialects : public ::testing::TestWithParam<UnionDialect> {};
inline std::string dialect_name(const ::testing::TestParamInfo<UnionDialect>& info) {
  return info.param == UnionDialect::aufs ? "aufs" : "overlay";
}

}  // namespace sbench::testing
