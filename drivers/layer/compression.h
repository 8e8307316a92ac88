// compression.h: gzip and zstd streams, as layers are stored and sent; through libarchive.
#pragma once

#include <memory>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

enum class Compression { none, gzip, zstd };
/// "none", "gzip" or "zstd".
[[nodiscard]] const char* to_string(Compression compression);

/// Hands on what `source` holds, unpacked. `source` and `shown`, which names it in errors, outlive it.
/// EINVAL when the stream is not of that compression, is damaged, or ends too early.
class UnpackingSource final : public ByteSource {
 public:
  UnpackingSource(ByteSource& source, Compression compression, std::string shown);
  ~UnpackingSource() override;
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Packs what is written and hands it to `sink`. Equal input gives equal output.
class PackingSink final : public ByteSink {
 public:
  PackingSink(ByteSink& sink, Compression compression);
  ~PackingSink() override;
  [[nodiscard]] Status write(std::span<const std::byte> data) override;
  /// Writes the stream's end. No calls after it.
  [[nodiscard]] Status finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Passes everything of `source` to `sink`; returns the bytes passed. EFBIG when more than
/// `bytes_max` come, saying what `shown` is.
[[nodiscard]] Result<std::uint64_t> copy_stream(ByteSource& source, ByteSink& sink, std::uint64_t bytes_max,
                                                const std::string& shown);

}  // namespace sbench
