#include "drivers/ublk/export.h"

#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <bit>
#include <cstring>

#include "drivers/base/units.h"

namespace sbench::ublk {

namespace {

constexpr unsigned kDepth = 64;
constexpr std::uint32_t kTransferBytesMax = 512 * kKiB;
constexpr unsigned kSectorBytes = 512;
constexpr unsigned kClearedSectorsMax = 4U << 20;  // 2 GiB
constexpr std::uint64_t kWoken = ~std::uint64_t{0};  ///< user data of the read that workers end

ublk_params parameters_of(const Shape& shape) {
  ublk_params all{};
  all.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;
  all.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
  all.basic.logical_bs_shift = static_cast<__u8>(std::countr_zero(shape.block_bytes));
  all.basic.physical_bs_shift = 12;
  all.basic.io_min_shift = 12;
  all.basic.io_opt_shift = static_cast<__u8>(std::countr_zero(shape.chunk_bytes));
  all.basic.max_sectors = kTransferBytesMax / kSectorBytes;
  all.basic.dev_sectors = shape.size_bytes / kSectorBytes;
  all.discard.discard_granularity = static_cast<__u32>(shape.chunk_bytes);
  all.discard.max_discard_sectors = kClearedSectorsMax;
  all.discard.max_write_zeroes_sectors = kClearedSectorsMax;
  all.discard.max_discard_segments = 1;
  return all;
}

/// Anonymous memory, or the kernel's list of requests; unmapped when it goes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(std::size_t bytes, int protection, int flags, int fd)
      : memory_(::mmap(nullptr, bytes, protection, flags, fd, 0)), bytes_(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (valid()) {
      ::munmap(memory_, bytes_);
    }
  }
  [[nodiscard]] bool valid() const { return memory_ != MAP_FAILED; }
  [[nodiscard]] void* get() const { return memory_; }

 private:
  void* memory_ = MAP_FAILED;
  std::size_t bytes_ = 0;
};

std::size_t list_bytes() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (kDepth * sizeof(ublksrv_io_desc) + page - 1) / page * page;
}

}  // namespace

Workers::Workers(int threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { work(); });
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  came_.notify_all();
  for (auto& thread : threads_) {
    thread.join();
  }
}

void Workers::give(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  came_.notify_one();
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    came_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      return;
    }
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

/// The thread that talks with the kernel, and what it shares with the workers.
class Export::Queue {
 public:
  Queue(Workers& workers, Target& target, Fd device)
      : workers_(workers),
        target_(target),
        device_(std::move(device)),
        wake_(::eventfd(0, EFD_CLOEXEC)),
        list_(list_bytes(), PROT_READ, MAP_SHARED | MAP_POPULATE, device_.get()),
        memory_(std::size_t{kDepth} * kTransferBytesMax, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1) {}

  ~Queue() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  /// Returns when the thread has begun; the kernel's START_DEV waits until it fetches.
  Status start() {
    if (!wake_.valid() || !list_.valid() || !memory_.valid()) {
      return errno_error("cannot map the requests of a ublk device");
    }
    thread_ = std::thread([this] { serve(); });
    std::unique_lock lock(mutex_);
    begun_.wait(lock, [this] { return began_; });
    return failure_;
  }

 private:
  struct Done {
    unsigned tag = 0;
    int result = 0;
  };

  std::byte* memory_of(unsigned tag) const {
    return static_cast<std::byte*>(memory_.get()) + std::size_t{tag} * kTransferBytesMax;
  }

  void ask(unsigned operation, unsigned tag, int result) {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    SBENCH_CHECK(entry != nullptr);  // there is one for each request and one more
    std::memset(static_cast<void*>(entry), 0, sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = device_.get();
    entry->cmd_op = operation;
    ublksrv_io_cmd command{};
    command.tag = static_cast<__u16>(tag);
    command.result = result;
    command.addr = reinterpret_cast<std::uintptr_t>(memory_of(tag));
    std::memcpy(static_cast<void*>(entry->cmd), &command, sizeof command);
    ::io_uring_sqe_set_data64(entry, tag);
  }

  void listen() {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    SBENCH_CHECK(entry != nullptr);
    ::io_uring_prep_read(entry, wake_.get(), &woken_, sizeof woken_, 0);
    ::io_uring_sqe_set_data64(entry, kWoken);
  }

  void begin(Status status) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(status);
    began_ = true;
    begun_.notify_all();
  }

  void serve() {
    ::prctl(PR_SET_NAME, "ublk-queue");
    if (const int failed = ::io_uring_queue_init(2 * kDepth, &ring_, 0); failed < 0) {
      begin(make_error(-failed, "cannot make an io_uring for a ublk device"));
      return;
    }
    for (unsigned tag = 0; tag < kDepth; ++tag) {
      ask(UBLK_IO_FETCH_REQ, tag, 0);
    }
    listen();
    live_ = kDepth;
    ::io_uring_submit(&ring_);
    begin({});
    while (live_ > 0) {
      const int waited = ::io_uring_submit_and_wait(&ring_, 1);
      if (waited < 0 && waited != -EINTR && waited != -EAGAIN && waited != -EBUSY) {
        break;  // the kernel gives the requests up when the thread ends
      }
      io_uring_cqe* completion = nullptr;
      while (::io_uring_peek_cqe(&ring_, &completion) == 0) {
        const std::uint64_t data = ::io_uring_cqe_get_data64(completion);
        const int result = completion->res;
        ::io_uring_cqe_seen(&ring_, completion);
        if (data == kWoken) {
          give_back();
          listen();
        } else if (result == UBLK_IO_RES_OK) {
          hand_out(static_cast<unsigned>(data));
        } else {
          --live_;  // stopped: this one comes no more
        }
      }
    }
    ::io_uring_queue_exit(&ring_);
  }

  void hand_out(unsigned tag) {
    workers_.give([this, tag] {
      const int result = carry_out(tag);
      const std::lock_guard lock(mutex_);
      done_.push_back({tag, result});
      const std::uint64_t one = 1;
      static_cast<void>(!::write(wake_.get(), &one, sizeof one));  // under the lock: after it this object may go
    });
  }

  void give_back() {
    const std::lock_guard lock(mutex_);
    for (const Done& each : done_) {
      ask(UBLK_IO_COMMIT_AND_FETCH_REQ, each.tag, each.result);
    }
    done_.clear();
  }

  /// What the kernel is told: bytes, or a negative errno.
  int carry_out(unsigned tag) {
    const ublksrv_io_desc& request = static_cast<const ublksrv_io_desc*>(list_.get())[tag];
    const std::uint64_t offset = request.start_sector * kSectorBytes;
    const std::uint64_t length = std::uint64_t{request.nr_sectors} * kSectorBytes;
    const unsigned operation = ublksrv_get_op(&request);
    const bool force = (request.op_flags & UBLK_IO_F_FUA) != 0;
    Status done;
    switch (operation) {
      case UBLK_IO_OP_READ: done = target_.read(offset, {memory_of(tag), length}); break;
      case UBLK_IO_OP_WRITE: done = target_.write(offset, {memory_of(tag), length}); break;
      case UBLK_IO_OP_FLUSH: done = target_.flush(); break;
      case UBLK_IO_OP_DISCARD: done = target_.discard(offset, length); break;
      case UBLK_IO_OP_WRITE_ZEROES:
        done = (request.op_flags & UBLK_IO_F_NOUNMAP) != 0 ? Status(Error{EOPNOTSUPP, "zeros that keep their space"})
                                                           : target_.zero(offset, length);
        break;
      default: done = Error{EOPNOTSUPP, "unknown request"};
    }
    if (done.ok() && force) {
      done = target_.flush();
    }
    if (!done.ok()) {
      return -done.error().code;
    }
    return operation == UBLK_IO_OP_READ || operation == UBLK_IO_OP_WRITE ? static_cast<int>(length) : 0;
  }

  Workers& workers_;
  Target& target_;
  Fd device_;
  Fd wake_;
  Mapping list_;    ///< of ublksrv_io_desc, by tag
  Mapping memory_;  ///< kTransferBytesMax for each tag
  io_uring ring_{};
  std::uint64_t woken_ = 0;
  unsigned live_ = 0;  ///< tags that the kernel or a worker has
  std::mutex mutex_;
  std::vector<Done> done_;
  std::condition_variable begun_;
  bool began_ = false;
  Status failure_;
  std::thread thread_;
};

Export::Export(Control& control, unsigned id) : control_(control), id_(id) {}

Result<std::unique_ptr<Export>> Export::start(Control& control, Workers& workers, Target& target, const Shape& shape,
                                              const OpenCharacterDevice& open) {
  ublksrv_ctrl_dev_info info{};
  info.nr_hw_queues = 1;
  info.queue_depth = kDepth;
  info.max_io_buf_bytes = kTransferBytesMax;
  SBENCH_TRY(control.add(info));
  std::unique_ptr<Export> made(new Export(control, info.dev_id));
  SBENCH_TRY(control.set_parameters(info.dev_id, parameters_of(shape)));
  SBENCH_TRY_SET(Fd device, open(info.dev_id));
  made->queue_ = std::make_unique<Queue>(workers, target, std::move(device));
  SBENCH_TRY(made->queue_->start());
  SBENCH_TRY(control.start(info.dev_id));
  return made;
}

Export::~Export() {
  static_cast<void>(control_.stop(id_));
  queue_.reset();
  static_cast<void>(control_.remove(id_));
}

unsigned Export::id() const { return id_; }

}  // namespace sbench::ublk
