// content.h: file content as a function of a seed and an offset.
//
// Any range of any file can be generated and checked without storing it. Content
// is cells of 128 bytes: first random words, then words that repeat in every cell
// of the file, so that every common compressor saves close to the stated share.
// The same seed gives the same bytes on every machine, whatever was read before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sbench {

class Content {
 public:
  /// `compressible_percent`: the share a compressor can save, 0 to 100, in steps of 6.25.
  explicit Content(std::uint64_t seed, unsigned compressible_percent = 50);

  /// The bytes [offset, offset + out.size()).
  void fill(std::uint64_t offset, std::span<std::byte> out) const;
  /// Whether `data` is what fill(offset) gives.
  [[nodiscard]] bool matches(std::uint64_t offset, std::span<const std::byte> data) const;

 private:
  static constexpr std::size_t kCellWords = 16;
  [[nodiscard]] std::uint64_t word(std::uint64_t index) const;

  std::uint64_t seed_;
  std::size_t random_words_;
  std::array<std::uint64_t, kCellWords> pattern_{};
};

}  // namespace sbench
