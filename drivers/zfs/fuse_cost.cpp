#include "drivers/zfs/fuse_cost.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <functional>

#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/block/memory_device.h"
#include "drivers/cow_fs/pool_files.h"
#include "drivers/fuse/server_process.h"

namespace sbench::zfs {

namespace {

using cow_fs::Bytes;

constexpr std::uint64_t kPoolBytes = 48 * kMiB;
constexpr int kTurns = 7;
constexpr std::uint64_t kNames = 100;  ///< of one turn
constexpr std::uint64_t kPieces = 4;   ///< of the large file
constexpr std::uint64_t kOverwrites = 20;
constexpr const char* kDataset = "d";

Result<std::unique_ptr<FileSystem>> make_pool() {
  std::unique_ptr<BlockIo> io = std::make_unique<MemoryDevice>(kPoolBytes, cow_fs::kSector);
  SBENCH_TRY(cow_fs::Pool::format(*io));
  cow_fs::OpenOptions options;
  options.commit_interval_ms = 0;
  SBENCH_TRY_SET(auto pool, cow_fs::Pool::open(*io, options));
  SBENCH_TRY(pool->create(kDataset, {}));
  return std::unique_ptr<FileSystem>(new cow_fs::PoolFiles(std::move(io), std::move(pool), {}));
}

Bytes noise(std::size_t size_bytes) {
  Rng rng(1, "fuse_cost");
  Bytes bytes(size_bytes);
  for (std::size_t at = 0; at < size_bytes; at += sizeof(std::uint64_t)) {
    cow_fs::store(bytes.data() + at, rng.next());
  }
  return bytes;
}

/// One of the two ways to work on the dataset; each has the large file open.
class Way {
 public:
  virtual ~Way() = default;
  virtual Status make(const std::string& name, const Bytes& content) = 0;
  virtual Status miss(const std::string& name) = 0;
  virtual Status read(Bytes& into, std::uint64_t offset) = 0;
  virtual Status write(const Bytes& from, std::uint64_t offset) = 0;
  virtual Status sync() = 0;
  /// What the kernel has of the large file's data is dropped; the pool keeps it.
  virtual Status forget_data() { return {}; }
};

class InProcess final : public Way {
 public:
  static Result<std::unique_ptr<Way>> open(FileSystem& files) {
    SBENCH_TRY_SET(const Entry root, files.lookup(kRootNode, kDataset));
    SBENCH_TRY_SET(const auto large, files.create({}, root.node, "large", 0644, O_RDWR));
    return std::unique_ptr<Way>(new InProcess(files, root.node, large));
  }
  ~InProcess() override {
    files_.release(large_.entry.node, large_.file.handle);
    files_.forget(large_.entry.node, 1);
  }
  Status make(const std::string& name, const Bytes& content) override {
    SBENCH_TRY_SET(const auto made, files_.create({}, root_, name, 0644, O_RDWR));
    SBENCH_TRY(files_.write(made.entry.node, made.file.handle, content, 0));
    files_.release(made.entry.node, made.file.handle);
    files_.forget(made.entry.node, 1);
    return {};
  }
  Status miss(const std::string& name) override {
    return files_.lookup(root_, name).ok() ? Status(make_error(EEXIST, "{}", name)) : Status();
  }
  Status read(Bytes& into, std::uint64_t offset) override {
    SBENCH_TRY(files_.read(large_.entry.node, large_.file.handle, into, offset));
    return {};
  }
  Status write(const Bytes& from, std::uint64_t offset) override {
    SBENCH_TRY(files_.write(large_.entry.node, large_.file.handle, from, offset));
    return {};
  }
  Status sync() override { return files_.sync_file(large_.entry.node, large_.file.handle, false); }

 private:
  InProcess(FileSystem& files, NodeId root, const FileSystem::Created& large) : files_(files), root_(root), large_(large) {}

  FileSystem& files_;
  NodeId root_;
  FileSystem::Created large_;
};

class Mounted final : public Way {
 public:
  static Result<std::unique_ptr<Way>> open(const std::filesystem::path& mount) {
    const auto root = mount / kDataset;
    SBENCH_TRY_SET(Fd large, open_file(root / "large", O_RDWR | O_CREAT));
    return std::unique_ptr<Way>(new Mounted(root.string() + "/", std::move(large)));
  }
  Status make(const std::string& name, const Bytes& content) override {
    const Fd fd(::open((root_ + name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    return whole(fd.valid() ? ::write(fd.get(), content.data(), content.size()) : -1, content.size());
  }
  Status miss(const std::string& name) override {
    struct stat status {};
    return ::lstat((root_ + name).c_str(), &status) != 0 && errno == ENOENT ? Status() : Status(make_error(EEXIST, "{}", name));
  }
  Status read(Bytes& into, std::uint64_t offset) override {
    return whole(::pread(large_.get(), into.data(), into.size(), static_cast<off_t>(offset)), into.size());
  }
  Status write(const Bytes& from, std::uint64_t offset) override {
    return whole(::pwrite(large_.get(), from.data(), from.size(), static_cast<off_t>(offset)), from.size());
  }
  Status sync() override { return ::fsync(large_.get()) == 0 ? Status() : Status(errno_error("cannot sync a file")); }
  Status forget_data() override {
    const int code = ::posix_fadvise(large_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return code == 0 ? Status() : Status(make_error(code, "cannot drop a file's pages"));
  }

 private:
  Mounted(std::string root, Fd large) : root_(std::move(root)), large_(std::move(large)) {}
  static Status whole(ssize_t done, std::size_t wanted) {
    return done == static_cast<ssize_t>(wanted) ? Status() : Status(errno_error("a transfer through FUSE was cut short"));
  }

  std::string root_;
  Fd large_;
};

struct Operation {
  const char* name;
  std::uint64_t count;
  std::function<Status(Way&, int turn, std::uint64_t i)> run;
};

std::vector<Operation> operations() {
  static const Bytes small = noise(kKiB);
  static const Bytes page = noise(4 * kKiB);
  static const Bytes piece = noise(kMiB);
  static Bytes into(kMiB);
  return {
      {"look up a missing name", kNames, [](Way& way, int turn, std::uint64_t i) { return way.miss(fmt::format("n{}-{}", turn, i)); }},
      {"create with 1 KiB", kNames, [](Way& way, int turn, std::uint64_t i) { return way.make(fmt::format("f{}-{}", turn, i), small); }},
      {"write 1 MiB", kPieces, [](Way& way, int, std::uint64_t i) { return way.write(piece, i * kMiB); }},
      {"read 1 MiB, pool-cached", kPieces, [](Way& way, int, std::uint64_t i) { return way.read(into, i * kMiB); }},
      {"overwrite 4 KiB, fsync", kOverwrites,
       [](Way& way, int, std::uint64_t i) {
         const Status written = way.write(page, i * 2654435761U % (kPieces * kMiB / page.size()) * page.size());
         return written.ok() ? way.sync() : written;
       }},
  };
}

/// Microseconds an operation.
Result<double> time_of(const Operation& operation, Way& way, int turn) {
  SBENCH_TRY(way.sync());  // what the operation before left is not this one's to write
  SBENCH_TRY(way.forget_data());
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < operation.count; ++i) {
    SBENCH_TRY(operation.run(way, turn, i));
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  return took.count() / static_cast<double>(operation.count);
}

Result<std::vector<FuseCost>> measure(Way& in_process, Way& mounted) {
  std::vector<FuseCost> costs;
  const auto all = operations();
  costs.reserve(all.size());
  for (const Operation& each : all) {
    costs.push_back({each.name, {}, {}});
  }
  for (int turn = 0; turn <= kTurns; ++turn) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      double seen[2] = {};
      for (const int way : {turn % 2, 1 - turn % 2}) {
        SBENCH_TRY_SET(seen[way], time_of(all[i], way == 0 ? in_process : mounted, turn));
      }
      if (turn > 0) {  // the first one warms up
        costs[i].in_process_us.push_back(seen[0]);
        costs[i].mounted_us.push_back(seen[1]);
      }
    }
  }
  return costs;
}

}  // namespace

Result<std::vector<FuseCost>> measure_fuse_cost(const std::filesystem::path& folder) {
  SBENCH_TRY_SET(const auto files, make_pool());
  const auto mount = folder / "fuse-cost";
  SBENCH_TRY(make_directories(mount));
  fuse::ServerOptions options;
  options.session.name = "fuse-cost";
  options.session.passthrough = false;
  options.session.opens = false;
  options.capabilities = fuse::kPoolServerCapabilities;
  SBENCH_TRY_SET(const auto server, fuse::ServerProcess::start(mount, options, make_pool));
  Result<std::vector<FuseCost>> costs = plain_error(EIO, "nothing measured");
  {
    SBENCH_TRY_SET(const auto first, InProcess::open(*files));
    SBENCH_TRY_SET(const auto second, Mounted::open(mount));
    costs = measure(*first, *second);
  }
  SBENCH_TRY(server->stop());
  std::error_code ignored;
  std::filesystem::remove(mount, ignored);
  return costs;
}

}  // namespace sbench::zfs
