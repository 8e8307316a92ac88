#include "harness/histogram.h"

#include <algorithm>
#include <bit>

namespace sbench {

std::uint32_t Histogram::bucket_of(std::uint64_t value) {
  const auto width = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = width > kSubBits + 1 ? width - (kSubBits + 1) : 0;
  return (shift << kSubBits) + static_cast<std::uint32_t>(value >> shift);
}

std::uint64_t Histogram::lower_edge(std::uint32_t bucket) {
  constexpr std::uint32_t kLinear = 2u << kSubBits;
  if (bucket < kLinear) {
    return bucket;
  }
  const std::uint32_t shift = (bucket >> kSubBits) - 1;
  return static_cast<std::uint64_t>(bucket - (shift << kSubBits)) << shift;
}

void Histogram::add(std::uint64_t value) {
  const std::uint32_t bucket = bucket_of(value);
  if (bucket >= counts_.size()) {
    counts_.resize(bucket + 1);
  }
  ++counts_[bucket];
  min_ = count_ == 0 ? value : std::min(min_, value);
  max_ = std::max(max_, value);
  sum_ += value;
  ++count_;
}

std::vector<std::pair<std::uint32_t, std::uint64_t>> Histogram::sparse() const {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> filled;
  for (std::uint32_t bucket = 0; bucket < counts_.size(); ++bucket) {
    if (counts_[bucket] != 0) {
      filled.emplace_back(bucket, counts_[bucket]);
    }
  }
  return filled;
}

}  // namespace sbench
