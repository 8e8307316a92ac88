// The entry points of libFuzzer, for the one target that is linked with them.
#include <filesystem>
#include <fstream>

#include "drivers/base/hash.h"
#include "tests/fuzz/target.h"

using sbench::fuzz::targets;

/// SBENCH_FUZZ_SEEDS=DIR: the generated seeds are written there first. Inputs are made no longer than the target takes.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const auto& target = *targets().front();
  const char* folder = std::getenv("SBENCH_FUZZ_SEEDS");
  if (folder != nullptr) {
    std::filesystem::create_directories(folder);
    for (const auto& seed : target.seeds()) {
      std::ofstream(std::filesystem::path(folder) / ("seed-" + sbench::sha256_hex(seed).substr(0, 16))) << seed;
    }
  }
  static std::string longest = "-max_len=" + std::to_string(target.bytes_max);
  static std::vector<char*> arguments(*argv, *argv + *argc);
  arguments.insert(arguments.begin() + 1, longest.data());  // first, so that the command line has the last word
  arguments.push_back(nullptr);
  *argc = static_cast<int>(arguments.size()) - 1;
  *argv = arguments.data();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& target = *targets().front();
  target.run({data, std::min(size, target.bytes_max)});
  return 0;
}
