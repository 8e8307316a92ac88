// memory_file.h: bytes collected in an anonymous memory file, then read in place.
//
// Dropping caches does not touch them, so timed regions can read them at the
// same cost whatever the case did to the page cache before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

class MemoryFile final : public ByteSink {
 public:
  /// `name` is shown in /proc and in errors.
  [[nodiscard]] static Result<std::unique_ptr<MemoryFile>> make(const char* name);
  ~MemoryFile() override;
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  /// Appends; a bug after map().
  [[nodiscard]] Status write(std::span<const std::byte> data) override;
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  /// Maps what was written. The span lives as long as this object; later calls return it again.
  [[nodiscard]] Result<std::span<const std::byte>> map();

 private:
  MemoryFile(Fd fd, const char* name) : fd_(std::move(fd)), name_(name) {}

  Fd fd_;
  const char* name_;
  std::uint64_t size_bytes_ = 0;
  std::span<const std::byte> mapped_;
};

}  // namespace sbench
