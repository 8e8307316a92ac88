// hash.h: SHA-256 (layer digests, identities; through OpenSSL) and XXH3 (fast content comparison).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sbench {

/// Incremental SHA-256. update() any number of times, then finish() once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const std::byte> data);
  void update(std::string_view text);
  /// 64 lower-case hexadecimal digits.
  [[nodiscard]] std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 64 hexadecimal digits of the SHA-256 of `text`.
[[nodiscard]] std::string sha256_hex(std::string_view text);

/// XXH3-64 of `data`; chain calls by passing the previous value as `seed`.
[[nodiscard]] std::uint64_t xxh3(std::span<const std::byte> data, std::uint64_t seed = 0);

}  // namespace sbench
