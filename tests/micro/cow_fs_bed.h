// cow_fs_bed.h: what the micro benchmarks of cow_fs share: a pool on a file past the page cache.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "drivers/base/check.h"
#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/block/direct_device.h"
#include "drivers/cow_fs/dataset_files.h"

namespace sbench::cow_fs {

using Clock = std::chrono::steady_clock;

inline constexpr std::uint64_t kPiece = kMiB;

inline double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

template <typename T>
T must(Result<T> result) {
  SBENCH_CHECK(result.ok());
  return std::move(result).value();
}
inline void must(const Status& status) { SBENCH_CHECK(status.ok()); }

inline Bytes noise(std::uint64_t size_bytes) {
  Rng rng(1, "cow_fs_bench");
  Bytes bytes(size_bytes);
  for (std::uint64_t at = 0; at < size_bytes; at += 8) {
    store(bytes.data() + at, rng.next());
  }
  return bytes;
}

/// A pool on a file past the page cache, and a file beside it for raw transfers.
class Bed {
 public:
  Bed(std::uint64_t pool_bytes, std::uint64_t raw_bytes) {
    const char* chosen = std::getenv("SBENCH_MICRO_DIR");
    path_ = must(make_unique_directory(std::filesystem::path(chosen != nullptr ? chosen : "/var/tmp") / "sbench-micro-")).string();
    device_ = make_device("pool", pool_bytes);
    if (raw_bytes > 0) {
      raw_ = make_device("raw", raw_bytes);
    }
  }
  ~Bed() {
    close();
    device_.reset();
    raw_.reset();
    static_cast<void>(remove_tree(path_));
  }
  Bed(const Bed&) = delete;
  Bed& operator=(const Bed&) = delete;

  /// A new pool with a dataset "d".
  FileSystem& format(const DatasetOptions& options = {}) {
    close();
    must(Pool::format(*device_));
    OpenOptions quiet;
    quiet.commit_interval_ms = 0;
    pool_ = must(Pool::open(*device_, quiet));
    must(pool_->create("d", options));
    files_ = must(DatasetFiles::open(*pool_, "d"));
    return *files_;
  }
  Pool& pool() { return *pool_; }
  BlockIo& raw() { return *raw_; }

 private:
  void close() {
    files_.reset();
    pool_.reset();
  }
  /// Written once: a file system's first writes to a file's blocks cost more than later ones.
  std::unique_ptr<DirectDevice> make_device(const std::string& name, std::uint64_t size_bytes) {
    const std::string path = path_ + "/" + name;
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    SBENCH_CHECK(fd.get() >= 0 && ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0);
    auto device = must(DirectDevice::open(path));
    const Bytes piece = noise(kPiece);
    for (std::uint64_t at = 0; at < size_bytes; at += kPiece) {
      must(device->write(at, piece));
    }
    must(device->flush());
    return device;
  }

  std::string path_;
  std::unique_ptr<DirectDevice> device_;
  std::unique_ptr<DirectDevice> raw_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<DatasetFiles> files_;
};

}  // namespace sbench::cow_fs
