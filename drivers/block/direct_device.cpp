#include "drivers/block/direct_device.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "drivers/base/file.h"

namespace sbench {

namespace {

constexpr std::size_t kAlignment = 4096;
constexpr std::size_t kMemoryAlignment = 512;  ///< the strictest that queues ask of memory
constexpr std::size_t kBounceBytes = std::size_t{1} << 20;
constexpr unsigned kRingEntries = 64;
constexpr std::size_t kRunBytesMax = std::size_t{1} << 20;
constexpr std::size_t kRunPiecesMax = 64;

/// This thread's aligned memory, for callers whose own is not.
std::byte* bounce_buffer() {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  thread_local const std::unique_ptr<std::byte, Free> buffer(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, kBounceBytes)));
  // The analyzer takes a thread_local's destructor for one at the end of the scope.
  return buffer.get();  // NOLINT(clang-analyzer-unix.Malloc)
}

/// This thread's io_uring, made when first used.
class Ring {
 public:
  Ring() { usable_ = ::io_uring_queue_init(kRingEntries, &ring_, 0) == 0; }
  ~Ring() {
    if (usable_) {
      ::io_uring_queue_exit(&ring_);
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Null where the kernel refuses rings. A forked process has its parent's memory, but needs a ring of its own.
  static Ring* of_this_thread() {
    thread_local auto ring = std::make_unique<Ring>();
    if (ring->owner_ != ::getpid()) {  // NOLINT(clang-analyzer-cplusplus.NewDelete): as above
      static_cast<void>(ring.release());
      ring = std::make_unique<Ring>();
    }
    return ring->usable_ ? ring.get() : nullptr;  // NOLINT(clang-analyzer-cplusplus.NewDelete)
  }

  /// Runs up to kRingEntries requests that `prepare` fills in; returns the first negative errno, else 0.
  /// `done[i]` is what request i transferred.
  template <typename Prepare>
  int run(std::size_t count, std::vector<std::size_t>& done, Prepare&& prepare) {
    queue(count, prepare);
    return wait(count, done);
  }

  /// The same in two steps: between them the requests go on.
  template <typename Prepare>
  void begin(std::size_t count, Prepare&& prepare) {
    queue(count, prepare);
    static_cast<void>(::io_uring_submit(&ring_));  // what it does not take now, wait() submits
  }
  int wait(std::size_t count, std::vector<std::size_t>& done) {
    int failure = 0;
    std::size_t finished = 0;
    while (finished < count) {
      const int taken = ::io_uring_submit_and_wait(&ring_, 1);
      if (taken < 0 && taken != -EINTR && taken != -EAGAIN) {
        std::abort();  // requests in flight would write into memory that is about to go
      }
      io_uring_cqe* completion = nullptr;
      while (::io_uring_peek_cqe(&ring_, &completion) == 0) {
        const std::uint64_t index = ::io_uring_cqe_get_data64(completion);
        if (completion->res < 0) {
          failure = failure != 0 ? failure : completion->res;
        } else {
          done[index] = static_cast<std::size_t>(completion->res);
        }
        ::io_uring_cqe_seen(&ring_, completion);
        ++finished;
      }
    }
    return failure;
  }

  [[nodiscard]] bool usable() const { return usable_; }

 private:
  template <typename Prepare>
  void queue(std::size_t count, Prepare&& prepare) {
    for (std::size_t i = 0; i < count; ++i) {
      io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
      prepare(entry, i);
      ::io_uring_sqe_set_data64(entry, i);
    }
  }

  io_uring ring_{};
  bool usable_ = false;
  const pid_t owner_ = ::getpid();
};

/// Transfers that stand side by side on the device and become one request.
struct Run {
  std::size_t first = 0;
  std::size_t count = 0;
  std::size_t bytes = 0;
};

std::vector<Run> runs_of(std::span<const BlockIo::Transfer> transfers) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const std::size_t bytes = transfers[i].data.size();
    const bool joins = !runs.empty() && runs.back().bytes + bytes <= kRunBytesMax && runs.back().count < kRunPiecesMax &&
                       transfers[runs.back().first].offset + runs.back().bytes == transfers[i].offset;
    if (!joins) {
      runs.push_back({i, 0, 0});
    }
    ++runs.back().count;
    runs.back().bytes += bytes;
  }
  return runs;
}

std::vector<iovec> pieces_of(std::span<const BlockIo::Transfer> transfers) {
  std::vector<iovec> pieces;
  for (const auto& each : transfers) {
    pieces.push_back({const_cast<std::byte*>(each.data.data()), each.data.size()});
  }
  return pieces;
}

}  // namespace

Result<std::unique_ptr<DirectDevice>> DirectDevice::open(const std::filesystem::path& path, bool read_only) {
  std::unique_ptr<DirectDevice> device(new DirectDevice());
  device->path_ = path.string();
  SBENCH_TRY_SET(device->fd_, open_file(path, (read_only ? O_RDONLY : O_RDWR) | O_DIRECT));
  struct stat status {};
  if (::fstat(device->fd_.get(), &status) != 0) {
    return errno_error("cannot inspect {}", device->path_);
  }
  device->is_block_device_ = S_ISBLK(status.st_mode);
  if (device->is_block_device_) {
    int block_bytes = 0;
    if (::ioctl(device->fd_.get(), BLKGETSIZE64, &device->size_bytes_) != 0 ||
        ::ioctl(device->fd_.get(), BLKSSZGET, &block_bytes) != 0) {
      return errno_error("cannot read the size of {}", device->path_);
    }
    device->block_bytes_ = static_cast<std::uint32_t>(block_bytes);
  } else {
    device->size_bytes_ = static_cast<std::uint64_t>(status.st_size);
    device->block_bytes_ = kAlignment;  // what every file system takes
  }
  return device;
}

Status DirectDevice::check(std::uint64_t offset, std::uint64_t length, const char* what) const {
  if ((offset | length) % block_bytes_ != 0 || offset > size_bytes_ || length > size_bytes_ - offset) {
    return plain_error(EINVAL, "cannot {} {} bytes at {} of {}: it has {} in blocks of {}", what, length, offset, path_,
                       size_bytes_, block_bytes_);
  }
  return {};
}

bool DirectDevice::is_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % kMemoryAlignment == 0;
}

Status DirectDevice::read(std::uint64_t offset, std::span<std::byte> buffer) {
  SBENCH_TRY(check(offset, buffer.size(), "read"));
  while (!buffer.empty()) {
    const bool direct = is_aligned(buffer.data());
    std::byte* const memory = direct ? buffer.data() : bounce_buffer();
    const std::size_t wanted = direct ? buffer.size() : std::min(buffer.size(), kBounceBytes);
    const ssize_t count = ::pread(fd_.get(), memory, wanted, static_cast<off_t>(offset));
    if (count <= 0) {
      if (count < 0 && errno == EINTR) {
        continue;
      }
      return count < 0 ? errno_error("cannot read {} bytes at {} of {}", wanted, offset, path_)
                       : plain_error(EIO, "cannot read {} bytes at {} of {}: it ends there", wanted, offset, path_);
    }
    if (!direct) {
      std::memcpy(buffer.data(), memory, static_cast<std::size_t>(count));
    }
    offset += static_cast<std::uint64_t>(count);
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Status DirectDevice::write(std::uint64_t offset, std::span<const std::byte> buffer) {
  SBENCH_TRY(check(offset, buffer.size(), "write"));
  while (!buffer.empty()) {
    const bool direct = is_aligned(buffer.data());
    const std::size_t wanted = direct ? buffer.size() : std::min(buffer.size(), kBounceBytes);
    const std::byte* memory = buffer.data();
    if (!direct) {
      std::memcpy(bounce_buffer(), memory, wanted);
      memory = bounce_buffer();
    }
    const ssize_t count = ::pwrite(fd_.get(), memory, wanted, static_cast<off_t>(offset));
    if (count <= 0) {
      if (count < 0 && errno == EINTR) {
        continue;
      }
      return count < 0 ? errno_error("cannot write {} bytes at {} of {}", wanted, offset, path_)
                       : plain_error(EIO, "cannot write {} bytes at {} of {}: it ends there", wanted, offset, path_);
    }
    offset += static_cast<std::uint64_t>(count);
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

/// Writes of several runs at once, which go on until finish().
struct DirectDevice::Writes {
  Ring ring;
  std::vector<Transfer> transfers;
  std::vector<iovec> pieces;
  std::vector<Run> runs;
};

bool DirectDevice::can_queue(std::span<const Transfer> transfers) const {
  return std::all_of(transfers.begin(), transfers.end(), [&](const auto& each) {
    return is_aligned(each.data.data()) && check(each.offset, each.data.size(), "write").ok();
  });
}

Status DirectDevice::write_all(std::span<const Transfer> transfers) {
  Ring* const ring = Ring::of_this_thread();
  const std::vector<Run> runs = runs_of(transfers);
  if (ring == nullptr || transfers.size() == 1 || !can_queue(transfers)) {
    for (const auto& each : transfers) {
      SBENCH_TRY(write(each.offset, each.data));
    }
    return {};
  }
  const std::vector<iovec> pieces = pieces_of(transfers);
  std::vector<std::size_t> done(kRingEntries);
  for (std::size_t at = 0; at < runs.size(); at += kRingEntries) {
    const std::span<const Run> batch = std::span(runs).subspan(at, std::min<std::size_t>(kRingEntries, runs.size() - at));
    std::fill(done.begin(), done.end(), 0);
    const int failure = ring->run(batch.size(), done, [&](io_uring_sqe* entry, std::size_t i) {
      ::io_uring_prep_writev(entry, fd_.get(), &pieces[batch[i].first], static_cast<unsigned>(batch[i].count),
                             transfers[batch[i].first].offset);
    });
    if (failure != 0) {
      return make_error(-failure, "cannot write to {}", path_);
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      SBENCH_TRY(complete(transfers.subspan(batch[i].first, batch[i].count), done[i]));
    }
  }
  return {};
}

Status DirectDevice::complete(std::span<const Transfer> transfers, std::size_t done) {
  for (const auto& each : transfers) {
    const std::size_t written = std::min(done, each.data.size());
    done -= written;
    if (written < each.data.size()) {
      const std::size_t whole = written / block_bytes_ * block_bytes_;
      SBENCH_TRY(write(each.offset + whole, each.data.subspan(whole)));
    }
  }
  return {};
}

Status DirectDevice::begin_writes(std::span<const Transfer> transfers) {
  SBENCH_TRY(finish_writes());
  if (!writes_) {
    writes_ = std::make_unique<Writes>();
  }
  auto runs = runs_of(transfers);
  if (!writes_->ring.usable() || runs.size() > kRingEntries || !can_queue(transfers)) {
    return write_all(transfers);
  }
  writes_->transfers.assign(transfers.begin(), transfers.end());
  writes_->pieces = pieces_of(transfers);
  writes_->runs = std::move(runs);
  writes_->ring.begin(writes_->runs.size(), [&](io_uring_sqe* entry, std::size_t i) {
    const Run& run = writes_->runs[i];
    ::io_uring_prep_writev(entry, fd_.get(), &writes_->pieces[run.first], static_cast<unsigned>(run.count),
                           writes_->transfers[run.first].offset);
  });
  return {};
}

Status DirectDevice::finish_writes() {
  if (!writes_ || writes_->runs.empty()) {
    return {};
  }
  std::vector<std::size_t> done(kRingEntries);
  const int failure = writes_->ring.wait(writes_->runs.size(), done);
  const auto runs = std::exchange(writes_->runs, {});
  if (failure != 0) {
    return make_error(-failure, "cannot write to {}", path_);
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    SBENCH_TRY(complete(std::span(writes_->transfers).subspan(runs[i].first, runs[i].count), done[i]));
  }
  return {};
}

DirectDevice::DirectDevice() = default;
DirectDevice::~DirectDevice() { static_cast<void>(finish_writes()); }

Status DirectDevice::read_all(std::span<const Fill> fills) {
  Ring* const ring = Ring::of_this_thread();
  std::vector<std::size_t> done(kRingEntries);
  while (!fills.empty()) {
    const auto batch = fills.first(std::min<std::size_t>(fills.size(), kRingEntries));
    fills = fills.subspan(batch.size());
    const bool through_ring = ring != nullptr && batch.size() > 1 && std::all_of(batch.begin(), batch.end(), [&](const auto& each) {
      return is_aligned(each.data.data()) && check(each.offset, each.data.size(), "read").ok();
    });
    std::fill(done.begin(), done.end(), 0);
    if (through_ring) {
      const int failure = ring->run(batch.size(), done, [&](io_uring_sqe* entry, std::size_t i) {
        ::io_uring_prep_read(entry, fd_.get(), batch[i].data.data(), static_cast<unsigned>(batch[i].data.size()),
                             batch[i].offset);
      });
      if (failure != 0) {
        return make_error(-failure, "cannot read from {}", path_);
      }
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (done[i] < batch[i].data.size()) {
        SBENCH_TRY(read(batch[i].offset + done[i], batch[i].data.subspan(done[i])));
      }
    }
  }
  return {};
}

Status DirectDevice::flush() {
  if (::fdatasync(fd_.get()) != 0) {
    return errno_error("cannot flush {}", path_);
  }
  return {};
}

Status DirectDevice::discard(std::uint64_t offset, std::uint64_t length) {
  SBENCH_TRY(check(offset, length, "discard"));
  if (!can_discard_ || length == 0) {
    return {};
  }
  std::uint64_t range[2] = {offset, length};
  const int failed = is_block_device_ ? ::ioctl(fd_.get(), BLKDISCARD, range)
                                      : ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                    static_cast<off_t>(offset), static_cast<off_t>(length));
  if (failed != 0) {
    if (errno != EOPNOTSUPP && errno != ENOTTY) {
      return errno_error("cannot discard {} bytes at {} of {}", length, offset, path_);
    }
    can_discard_ = false;
  }
  return {};
}

}  // namespace sbench
