// target.h: one kind of bytes that sbench reads from elsewhere, and what is done with them.
//
// A target is a file of this folder that makes one Target. It runs in two ways: as a libFuzzer program of its
// own (cmake --preset fuzz; tests/fuzz/run), and in the ordinary suite, which replays seeds and corpus and a short
// seeded mutation of them (fuzz_test.cpp). What a target must hold: whatever the bytes, it returns, soon, with
// little memory. A broken promise aborts (require), as does a sanitizer's finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sbench::fuzz {

using Bytes = std::span<const std::uint8_t>;

struct Target {
  Target(const char* its_name, void (*what)(Bytes), std::vector<std::string> (*from)(), unsigned how_many, std::size_t max);

  const char* name;
  void (*run)(Bytes input);
  std::vector<std::string> (*seeds)();  ///< generated ones; corpus/NAME holds the rest
  unsigned mutations;                   ///< in the ordinary suite
  std::size_t bytes_max;                ///< longer inputs are cut
};

/// Those that are linked into this program.
[[nodiscard]] std::vector<const Target*>& targets();

/// A promise about hostile input that does not hold.
inline void require(bool holds, const std::string& what) {
  if (!holds) {
    std::fprintf(stderr, "fuzz: %s\n", what.c_str());
    std::abort();
  }
}

/// Takes numbers and texts from the front of an input; zeros and nothing once it is used up.
class Reader {
 public:
  explicit Reader(Bytes input) : rest_(input) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::uint8_t byte() { return static_cast<std::uint8_t>(number(1)); }
  /// Little-endian, of `bytes` bytes.
  [[nodiscard]] std::uint64_t number(unsigned bytes) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes && !rest_.empty(); ++i) {
      value |= std::uint64_t{rest_.front()} << (8 * i);
      rest_ = rest_.subspan(1);
    }
    return value;
  }
  [[nodiscard]] Bytes bytes(std::size_t count) {
    const Bytes taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  [[nodiscard]] std::string text(std::size_t count) {
    const Bytes taken = bytes(count);
    return {taken.begin(), taken.end()};
  }

 private:
  Bytes rest_;
};

[[nodiscard]] inline std::string text_of(Bytes input) { return {input.begin(), input.end()}; }

}  // namespace sbench::fuzz
