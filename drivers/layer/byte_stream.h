// byte_stream.h: where a layer tar comes from and where it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "drivers/base/result.h"

namespace sbench {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills the front of `buffer`; 0 means the end. Short counts are fine.
  [[nodiscard]] virtual Result<std::size_t> read(std::span<std::byte> buffer) = 0;
};

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Takes all of `data`.
  [[nodiscard]] virtual Status write(std::span<const std::byte> data) = 0;
};

/// Reads memory it does not own.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> data) : rest_(data) {}
  explicit MemorySource(const std::string& data) : rest_(std::as_bytes(std::span(data.data(), data.size()))) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  std::span<const std::byte> rest_;
};

/// Collects into a string.
class MemorySink final : public ByteSink {
 public:
  [[nodiscard]] Status write(std::span<const std::byte> data) override;
  [[nodiscard]] const std::string& data() const { return data_; }

 private:
  std::string data_;
};

/// Counts and forgets: the far end of a timed diff.
class CountingSink final : public ByteSink {
 public:
  [[nodiscard]] Status write(std::span<const std::byte> data) override {
    bytes_ += data.size();
    return {};
  }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  std::uint64_t bytes_ = 0;
};

/// Reads a descriptor it does not own, from its current position.
class FdSource final : public ByteSource {
 public:
  FdSource(int fd, std::string what) : fd_(fd), what_(std::move(what)) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  int fd_;
  std::string what_;
};

/// Writes a descriptor it does not own.
class FdSink final : public ByteSink {
 public:
  FdSink(int fd, std::string what) : fd_(fd), what_(std::move(what)) {}
  [[nodiscard]] Status write(std::span<const std::byte> data) override;

 private:
  int fd_;
  std::string what_;
};

}  // namespace sbench
