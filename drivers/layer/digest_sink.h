// digest_sink.h: the SHA-256 of what is written, which may go on to another sink.
#pragma once

#include <cstdint>
#include <string>

#include "drivers/base/hash.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

class DigestSink final : public ByteSink {
 public:
  /// `next` outlives this one.
  explicit DigestSink(ByteSink* next = nullptr) : next_(next) {}
  Status write(std::span<const std::byte> data) override {
    sha_.update(data);
    bytes_ += data.size();
    return next_ != nullptr ? next_->write(data) : Status();
  }
  /// Hexadecimal. Once, at the end.
  std::string sha256() { return sha_.finish(); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  ByteSink* next_;
  Sha256 sha_;
  std::uint64_t bytes_ = 0;
};

}  // namespace sbench
