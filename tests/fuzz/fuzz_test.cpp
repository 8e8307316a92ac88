// fuzz_test.cpp: what fuzzing has found stays mended: every target replays its seeds, its corpus, and mutations of both.
//
// SBENCH_TEST_ROUNDS=100 mutates a hundred times as much; SBENCH_TEST_SEED chooses other mutations.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "drivers/base/rng.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

namespace fs = std::filesystem;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* chosen = std::getenv(variable);
  return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : otherwise;
}

/// Seeds first, then the corpus by file name.
std::vector<std::pair<std::string, std::string>> inputs_of(const Target& target) {
  std::vector<std::pair<std::string, std::string>> inputs;
  for (auto& seed : target.seeds()) {
    inputs.emplace_back("seed " + std::to_string(inputs.size()), std::move(seed));
  }
  const fs::path folder = fs::path(SBENCH_TEST_DATA) / "fuzz/corpus" / target.name;
  std::vector<fs::path> files;
  if (fs::exists(folder)) {
    files.assign(fs::directory_iterator(folder), fs::directory_iterator());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream content(file, std::ios::binary);
    inputs.emplace_back(file.filename().string(), std::string(std::istreambuf_iterator<char>(content), {}));
  }
  return inputs;
}

std::string mutated(std::string input, const std::string& other, Rng& rng) {
  static constexpr std::uint64_t kOdd[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, ~std::uint64_t{0} >> 1, ~std::uint64_t{0}};
  for (std::uint64_t changes = 1 + rng.below(4); changes > 0; --changes) {
    const std::size_t at = rng.below(input.size() + 1);
    switch (rng.below(5)) {
      case 0:
        if (at < input.size()) {
          input[at] = static_cast<char>(input[at] ^ (1 << rng.below(8)));
        }
        break;
      case 1:
        input.insert(at, 1 + rng.below(8), static_cast<char>(rng.next()));
        break;
      case 2:
        input.erase(at, 1 + rng.below(16));
        break;
      case 3: {
        const std::uint64_t value = kOdd[rng.below(std::size(kOdd))];
        const std::size_t bytes = std::min<std::size_t>(std::size_t{1} << rng.below(4), input.size() - at);
        input.replace(at, bytes, reinterpret_cast<const char*>(&value), bytes);
        break;
      }
      default: {
        const std::size_t from = rng.below(other.size() + 1);
        input.insert(at, other.substr(from, 1 + rng.below(64)));
      }
    }
  }
  return input;
}

class Fuzz : public ::testing::TestWithParam<const Target*> {};

TEST_P(Fuzz, seeds_corpus_and_mutations_are_survived) {
  const Target& target = *GetParam();
  const auto inputs = inputs_of(target);
  ASSERT_FALSE(inputs.empty());
  const auto run = [&](const std::string& input) {
    const std::string_view cut = std::string_view(input).substr(0, target.bytes_max);
    target.run({reinterpret_cast<const std::uint8_t*>(cut.data()), cut.size()});
  };
  for (const auto& [name, input] : inputs) {
    SCOPED_TRACE(name);
    run(input);
  }
  run("");
  const std::uint64_t seed = number_from("SBENCH_TEST_SEED", 20260101);
  RecordProperty("seed", std::to_string(seed));
  Rng rng(seed, target.name);
  for (std::uint64_t i = target.mutations * number_from("SBENCH_TEST_ROUNDS", 1); i > 0; --i) {
    run(mutated(inputs[rng.below(inputs.size())].second, inputs[rng.below(inputs.size())].second, rng));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, ::testing::ValuesIn(targets()), [](const auto& each) { return std::string(each.param->name); });

}  // namespace
}  // namespace sbench::fuzz
