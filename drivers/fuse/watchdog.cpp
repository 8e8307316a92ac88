#include "drivers/fuse/watchdog.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace sbench::fuse {

using Clock = std::chrono::steady_clock;

struct Watch::Watched {
  Connection connection;
  std::string name;
  std::chrono::milliseconds limit{};
  std::function<std::uint64_t()> progress;
  std::uint64_t last_progress = 0;
  Clock::time_point last_change = Clock::now();
  std::atomic<bool> fired{false};
};

namespace {

/// Its thread begins with the first connection that is watched, and sleeps while there is none.
class Watchdog {
 public:
  static Watchdog& only() {
    static const bool once = [] {
      instance_ = new Watchdog();
      // A child that goes on without exec has no thread of this one's, and must not inherit a lock that it held:
      // neither its own nor one of the memory allocator (the C library frees its own in the child, a sanitizer does not).
      ::pthread_atfork([] { instance_->pause(); }, [] { instance_->mutex_.unlock(); },
                       [] { instance_ = new Watchdog(instance_); });
      return true;
    }();
    static_cast<void>(once);
    return *instance_;
  }

  void add(std::shared_ptr<Watch::Watched> watched) {
    const std::lock_guard lock(mutex_);
    if (!running_) {
      std::thread([this] { work(); }).detach();  // throws where there is no memory for one: then nothing is watched
      running_ = true;
    }
    watched_.push_back(std::move(watched));
    changed_.notify_all();
  }

  /// Leaves the mutex locked, the thread asleep or not begun.
  void pause() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !running_ || sleeps_; });
    lock.release();
  }

  void remove(const std::shared_ptr<Watch::Watched>& watched) {
    const std::lock_guard lock(mutex_);  // waits for a look that is going on: progress may go away afterwards
    std::erase(watched_, watched);
    changed_.notify_all();
  }

 private:
  void work() {
    constexpr std::chrono::milliseconds kPeriod{500};
    std::unique_lock lock(mutex_);
    for (;;) {
      try {
        std::for_each(watched_.begin(), watched_.end(), [](const auto& each) { look_at(*each); });
      } catch (const std::bad_alloc&) {  // looked at again when the period is over
      }
      sleeps_ = true;
      changed_.notify_all();
      if (watched_.empty()) {
        changed_.wait(lock, [this] { return !watched_.empty(); });
      } else {
        changed_.wait_for(lock, kPeriod);
      }
      sleeps_ = false;
    }
  }

  static void look_at(Watch::Watched& each) {
    const std::uint64_t progress = each.progress();
    const auto waiting = each.connection.waiting_requests();
    if (progress != each.last_progress || waiting.value_or(0) == 0) {
      each.last_progress = progress;
      each.last_change = Clock::now();
    } else if (Clock::now() - each.last_change > each.limit && !each.fired.exchange(true)) {
      static_cast<void>(each.connection.abort());
    }
  }

  explicit Watchdog(Watchdog* of_parent = nullptr) : of_parent_(of_parent) {}

  static inline Watchdog* instance_ = nullptr;
  [[maybe_unused]] Watchdog* of_parent_;  ///< never used again, nor destroyed: its lock is held
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Watch::Watched>> watched_;
  bool running_ = false;
  bool sleeps_ = false;  ///< its thread waits, and holds no lock
};

}  // namespace

Watch::Watch(Connection connection, std::string name, int limit_ms, std::function<std::uint64_t()> progress)
    : watched_(std::make_shared<Watched>()) {
  watched_->connection = std::move(connection);
  watched_->name = std::move(name);
  watched_->limit = std::chrono::milliseconds(limit_ms);
  watched_->progress = std::move(progress);
  Watchdog::only().add(watched_);
}

Watch::~Watch() { Watchdog::only().remove(watched_); }

bool Watch::fired() const { return watched_->fired; }

}  // namespace sbench::fuse
