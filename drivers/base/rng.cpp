#include "drivers/base/rng.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "drivers/base/check.h"

namespace sbench {

std::uint64_t splitmix64(std::uint64_t& state) {
  std::uint64_t mixed = (state += 0x9e3779b97f4a7c15ULL);
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  return mixed ^ (mixed >> 31);
}

Rng::Rng(std::uint64_t seed, std::string_view stream) {
  std::uint64_t mixed = seed;
  for (const char c : stream) {  // FNV-1a step, then mixed by splitmix64 below
    mixed = (mixed ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  for (auto& word : state_) {
    word = splitmix64(mixed);
  }
}

std::uint64_t Rng::next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t Rng::below(std::uint64_t bound) {
  SBENCH_CHECK(bound > 0);
  const std::uint64_t limit = -bound % bound;  // values below it would bias the remainder
  std::uint64_t value = next();
  while (value < limit) {
    value = next();
  }
  return value % bound;
}

double Rng::unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - unit()));
  return radius * std::cos(2.0 * std::numbers::pi * unit());
}

}  // namespace sbench
