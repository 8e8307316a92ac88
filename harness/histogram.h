// histogram.h: latencies in log-linear buckets, 2^-7 relative error, mergeable.
//
// A value v falls into bucket shift*128 + (v >> shift), shift = max(0, bit_width(v) - 8):
// exact below 256, 128 buckets a power of two above (METHOD.md b.3).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace sbench {

class Histogram {
 public:
  static constexpr unsigned kSubBits = 7;

  void add(std::uint64_t value);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t min() const { return min_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  [[nodiscard]] std::uint64_t sum() const { return sum_; }
  /// (bucket index, count) of every bucket that is not empty, ascending.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint64_t>> sparse() const;

  [[nodiscard]] static std::uint32_t bucket_of(std::uint64_t value);
  /// Smallest value of a bucket: bucket_of's inverse.
  [[nodiscard]] static std::uint64_t lower_edge(std::uint32_t bucket);

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = 0;
  std::uint64_t max_ = 0;
  std::uint64_t sum_ = 0;
};

}  // namespace sbench
