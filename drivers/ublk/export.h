// export.h: shows something that can be read and written in this process as a block device of the kernel.
//
// One thread fetches the device's requests and gives their results back, as the kernel demands of one
// thread; others, which several exports may share, carry them out. Data is copied by the kernel to and from
// memory that each of the requests under way has here.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/ublk/control.h"

namespace sbench::ublk {

/// What is shown. Calls come from any of the workers, at the same time.
class Target {
 public:
  virtual ~Target() = default;
  [[nodiscard]] virtual Status read(std::uint64_t offset, std::span<std::byte> buffer) = 0;
  [[nodiscard]] virtual Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  /// What was written before is durable.
  [[nodiscard]] virtual Status flush() = 0;
  [[nodiscard]] virtual Status discard(std::uint64_t offset, std::uint64_t length) = 0;
  /// Zeros that need no space. Zeros that must keep it are refused: the kernel then writes them.
  [[nodiscard]] virtual Status zero(std::uint64_t offset, std::uint64_t length) = 0;
};

struct Shape {
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes = 512;     ///< smallest transfer; a power of two up to 4096
  std::uint64_t chunk_bytes = 65536;   ///< best transfer, and what a discard must cover to count
};

/// Threads that carry out jobs in the order they came, as many at a time as there are threads.
class Workers {
 public:
  explicit Workers(int threads);
  /// Ends after what was given has been done.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  void give(std::function<void()> job);

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::function<void()>> jobs_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

/// A running block device. `control`, `workers` and `target` must outlive it.
class Export {
 public:
  /// `open_character_device(N)` opens /dev/ublkcN: where /dev is, is the caller's affair.
  using OpenCharacterDevice = std::function<Result<Fd>(unsigned)>;
  [[nodiscard]] static Result<std::unique_ptr<Export>> start(Control& control, Workers& workers, Target& target,
                                                             const Shape& shape, const OpenCharacterDevice& open);
  /// Stops it: users see errors from then on.
  ~Export();
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;

  /// N of /dev/ublkbN.
  [[nodiscard]] unsigned id() const;

 private:
  class Queue;
  Export(Control& control, unsigned id);
  Control& control_;
  unsigned id_;
  std::unique_ptr<Queue> queue_;
};

}  // namespace sbench::ublk
