// The entry points of libFuzzer, for the one target that is linked with them.
#include <filesystem>
#include <fstream>

#include "drivers/base/hash.h"
#include "tests/fuzz/target.h"

using sbench::fuzz::targets;

/// SBENCH_FUZZ_SEEDS=DIR: the generated seeds are written there first.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = std::getenv("SBENCH_FUZZ_SEEDS");
  if (folder != nullptr) {
    std::filesystem::create_directories(folder);
    for (const auto& seed : targets().front()->seeds()) {
      std::ofstream(std::filesystem::path(folder) / ("seed-" + sbench::sha256_hex(seed).substr(0, 16))) << seed;
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto& target = *targets().front();
  target.run({data, std::min(size, target.bytes_max)});
  return 0;
}
