#include "workloads/content/content.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "drivers/base/check.h"
#include "drivers/base/rng.h"

namespace sbench {
namespace {

static_assert(std::endian::native == std::endian::little, "content is defined as little-endian words");

/// The finalizer of splitmix64 over a counter: any word can be had alone.
inline std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15ULL;

}  // namespace

Content::Content(std::uint64_t seed, unsigned compressible_percent)
    : random_words_(kCellWords - kCellWords * compressible_percent / 100) {
  SBENCH_CHECK(compressible_percent <= 100);
  std::uint64_t state = seed;
  seed_ = splitmix64(state);
  for (auto& each : pattern_) {
    each = (splitmix64(state) & 0x1f1f1f1f1f1f1f1fULL) + 0x6060606060606060ULL;  // letters, mostly
  }
}

std::uint64_t Content::word(std::uint64_t index) const {
  const std::size_t place = index % kCellWords;
  return place < random_words_ ? mix(seed_ + index * kStep) : pattern_[place];
}

void Content::fill(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty() && offset % 128 != 0) {
    const std::uint64_t value = word(offset / 8);
    const std::size_t skip = offset % 8;
    const std::size_t count = std::min<std::size_t>(8 - skip, out.size());
    std::memcpy(out.data(), reinterpret_cast<const std::byte*>(&value) + skip, count);
    out = out.subspan(count);
    offset += count;
  }
  std::uint64_t index = offset / 8;
  while (out.size() >= 128) {
    std::array<std::uint64_t, kCellWords> cell = pattern_;
    for (std::size_t i = 0; i < random_words_; ++i) {
      cell[i] = mix(seed_ + (index + i) * kStep);
    }
    std::memcpy(out.data(), cell.data(), sizeof(cell));
    out = out.subspan(128);
    index += kCellWords;
  }
  while (!out.empty()) {
    const std::uint64_t value = word(index++);
    const std::size_t count = std::min<std::size_t>(8, out.size());
    std::memcpy(out.data(), &value, count);
    out = out.subspan(count);
  }
}

bool Content::matches(std::uint64_t offset, std::span<const std::byte> data) const {
  std::array<std::byte, 16384> expected;
  while (!data.empty()) {
    const std::size_t count = std::min(expected.size(), data.size());
    fill(offset, std::span(expected).first(count));
    if (std::memcmp(expected.data(), data.data(), count) != 0) {
      return false;
    }
    data = data.subspan(count);
    offset += count;
  }
  return true;
}

}  // namespace sbench
