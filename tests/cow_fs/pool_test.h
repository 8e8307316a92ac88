// pool_test.h: what the tests of cow_fs share: a pool in memory, and a plain model of a tree.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/block/memory_device.h"
#include "drivers/cow_fs/check.h"
#include "drivers/cow_fs/dataset_files.h"
#include "tests/support/must.h"

namespace sbench::cow_fs {

using test::code_of;
using test::must;

/// Only what the test asks for is committed, and when it asks.
inline OpenOptions quiet_options() {
  OpenOptions options;
  options.commit_interval_ms = 0;
  options.cache_bytes = 4 * kMiB;
  return options;
}

inline std::uint64_t test_seed() {
  const char* chosen = std::getenv("SBENCH_TEST_SEED");
  return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 20260101;
}
/// Longer runs by hand: SBENCH_TEST_ROUNDS=100 sbench_test_cow_fs.
inline std::uint64_t test_rounds(std::uint64_t normal) {
  const char* chosen = std::getenv("SBENCH_TEST_ROUNDS");
  return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : normal;
}

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Bytes that no compression shrinks.
inline std::string noise(std::uint64_t bytes, std::uint64_t seed) {
  Rng rng(seed, "noise");
  std::string text(bytes, '\0');
  for (std::uint64_t at = 0; at < bytes; at += 8) {
    const std::uint64_t value = rng.next();
    std::memcpy(text.data() + at, &value, std::min<std::uint64_t>(8, bytes - at));
  }
  return text;
}

/// A dataset's tree by path ("a/b"; "" is the root), as a program would use it.
class Files {
 public:
  explicit Files(FileSystem& files) : files_(files) {}

  Result<NodeId> find(const std::string& path) {
    NodeId at = kRootNode;
    for (std::size_t from = 0; from < path.size();) {
      const std::size_t to = std::min(path.find('/', from), path.size());
      SBENCH_TRY_SET(const Entry entry, files_.lookup(at, path.substr(from, to - from)));
      files_.forget(entry.node, 1);
      at = entry.node;
      from = to + 1;
    }
    return at;
  }
  static std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
  }
  static std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  Status make(const std::string& path, mode_t mode, dev_t device = 0) {
    SBENCH_TRY_SET(const NodeId parent, find(parent_of(path)));
    auto made = S_ISDIR(mode) ? files_.make_directory(caller, parent, name_of(path), mode)
                              : files_.make_node(caller, parent, name_of(path), mode, device);
    SBENCH_TRY(made);
    files_.forget(made->node, 1);
    return {};
  }
  Status symlink(const std::string& path, const std::string& target) {
    SBENCH_TRY_SET(const NodeId parent, find(parent_of(path)));
    SBENCH_TRY_SET(const Entry made, files_.make_symlink(caller, parent, name_of(path), target));
    files_.forget(made.node, 1);
    return {};
  }
  Status link(const std::string& path, const std::string& to) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    SBENCH_TRY_SET(const NodeId parent, find(parent_of(to)));
    SBENCH_TRY_SET(const Entry made, files_.make_link(node, parent, name_of(to)));
    files_.forget(made.node, 1);
    return {};
  }
  Status unlink(const std::string& path) {
    SBENCH_TRY_SET(const NodeId parent, find(parent_of(path)));
    return files_.unlink(parent, name_of(path));
  }
  Status remove_directory(const std::string& path) {
    SBENCH_TRY_SET(const NodeId parent, find(parent_of(path)));
    return files_.remove_directory(parent, name_of(path));
  }
  Status rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    SBENCH_TRY_SET(const NodeId source, find(parent_of(from)));
    SBENCH_TRY_SET(const NodeId target, find(parent_of(to)));
    return files_.rename(source, name_of(from), target, name_of(to), flags);
  }
  /// Makes the file when there is none.
  Status write(const std::string& path, std::uint64_t offset, std::string_view data) {
    auto node = find(path);
    if (!node.ok()) {
      SBENCH_TRY(make(path, S_IFREG | 0644));
      node = find(path);
    }
    SBENCH_TRY(node);
    SBENCH_TRY(files_.write(*node, 0, bytes_of(data), offset));
    return {};
  }
  Result<std::string> read(const std::string& path) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    SBENCH_TRY_SET(const auto status, files_.attributes(node, 0));
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    SBENCH_TRY_SET(const std::size_t got, files_.read(node, 0, std::as_writable_bytes(std::span(text)), 0));
    text.resize(got);
    return text;
  }
  Status truncate(const std::string& path, std::uint64_t size) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    struct stat wanted {};
    wanted.st_size = static_cast<off_t>(size);
    SBENCH_TRY(files_.set_attributes(node, 0, static_cast<unsigned>(AttributeMask::size), wanted));
    return {};
  }
  Status chmod(const std::string& path, mode_t mode) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    struct stat wanted {};
    wanted.st_mode = mode;
    SBENCH_TRY(files_.set_attributes(node, 0, static_cast<unsigned>(AttributeMask::mode), wanted));
    return {};
  }
  Status punch(const std::string& path, int mode, std::uint64_t offset, std::uint64_t length) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    return files_.allocate(node, 0, mode, offset, length);
  }
  Status set_xattr(const std::string& path, const std::string& name, std::string_view value) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    return files_.set_xattr(node, name.c_str(), value, 0);
  }
  Status remove_xattr(const std::string& path, const std::string& name) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    return files_.remove_xattr(node, name.c_str());
  }
  Result<std::vector<std::pair<std::string, unsigned>>> list(const std::string& path) {
    SBENCH_TRY_SET(const NodeId node, find(path));
    std::vector<std::pair<std::string, unsigned>> names;
    SBENCH_TRY(files_.read_directory(node, 0, 0, [&](const DirectoryEntry& entry) {
      if (entry.name != "." && entry.name != "..") {
        names.emplace_back(entry.name, entry.type);
      }
      return true;
    }));
    std::sort(names.begin(), names.end());
    return names;
  }
  FileSystem& raw() { return files_; }

  Caller caller{0, 0, 0, 0};

 private:
  FileSystem& files_;
};

/// Everything a tree shows, a line a name: type, mode, links, content hash, attributes. Equal trees have equal text.
std::map<std::string, std::string> describe_tree(Files files);

struct TestPool {
  explicit TestPool(std::uint64_t size_bytes = 32 * kMiB, OpenOptions options = quiet_options())
      : device(std::make_unique<MemoryDevice>(size_bytes)), open_options(options) {
    must(Pool::format(*device));
    open();
  }
  void open() { pool = must(Pool::open(*device, open_options)); }
  void reopen() {
    mounted.clear();
    pool.reset();
    open();
  }
  Files files(const std::string& name) {
    auto& at = mounted[name];
    if (!at) {
      at = must(DatasetFiles::open(*pool, name));
    }
    return Files(*at);
  }
  void unmount(const std::string& name) { mounted.erase(name); }
  /// After a commit: what check_pool() has against it.
  std::vector<std::string> findings() {
    must(pool->sync());
    return check_pool(*device).findings;
  }
  ~TestPool() { mounted.clear(); }

  std::unique_ptr<MemoryDevice> device;
  OpenOptions open_options;
  std::unique_ptr<Pool> pool;
  std::map<std::string, std::unique_ptr<DatasetFiles>> mounted;
};

}  // namespace sbench::cow_fs
