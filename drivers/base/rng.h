// rng.h: the one source of random choices, so that a seed reproduces a run.
//
// xoshiro256** (Blackman and Vigna, 2018) seeded through splitmix64. A stream
// is named: the same seed and name give the same numbers whatever was drawn
// elsewhere, on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sbench {

/// One step of splitmix64: advances `state`, returns a well-mixed 64-bit value.
[[nodiscard]] std::uint64_t splitmix64(std::uint64_t& state);

class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::string_view stream = {});

  /// Uniform over all 64-bit values.
  std::uint64_t next();
  /// Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform in [0, 1).
  double unit();
  /// Standard normal (Box-Muller, one value a call).
  double normal();

  /// Fisher-Yates with this generator.
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[below(i)]);
    }
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace sbench
